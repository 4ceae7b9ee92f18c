"""Where a tubelet is: sines and cosines added to tokens, or rotations of queries and keys, in time, rows and columns."""

from __future__ import annotations

from typing import NamedTuple

import torch

_BASE = 10000.0


class Grid(NamedTuple):
    """Tubelets in time, patches down and across. Token ``(t · rows + r) · columns + c`` is at time t, row r, column c."""

    times: int
    rows: int
    columns: int

    @property
    def patches(self) -> int:
        """Patches of one time."""
        return self.rows * self.columns

    def coordinates(self) -> torch.Tensor:
        """(times · rows · columns, 3) float64: time, row and column of each token."""
        axes = [torch.arange(length, dtype=torch.float64) for length in self]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)


def sine_cosine(dim: int, grid: Grid) -> torch.Tensor:
    """Fixed position embeddings (tokens, dim) float32 (Bardes et al., 2024, section 3; Vaswani et al., 2017, section 3.5 along each axis).

    Each axis has the same share of channels, first sines, then cosines; channels beyond ``dim`` are cut off.
    """
    share = 2 * -(-dim // 6)
    rates = _BASE ** (-torch.arange(share // 2, dtype=torch.float64) / (share / 2))
    angles = grid.coordinates()[:, :, None] * rates  # (tokens, 3, share / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :dim].float()


class Rotation(NamedTuple):
    """Cosines and sines (..., tokens, head width / 2) by which pairs of channels are turned."""

    cosine: torch.Tensor
    sine: torch.Tensor

    def at(self, index: torch.Tensor) -> Rotation:
        """Of the tokens ``index`` (B, M), with an axis for heads: (B, 1, M, ...)."""
        return Rotation(self.cosine[index][:, None], self.sine[index][:, None])

    def after_fixed(self, count: int) -> Rotation:
        """With ``count`` tokens before the others that are not turned."""
        still = (*self.cosine.shape[:-2], count, self.cosine.shape[-1])
        return Rotation(torch.cat([self.cosine.new_ones(still), self.cosine], -2), torch.cat([self.sine.new_zeros(still), self.sine], -2))

    def turn(self, vectors: torch.Tensor) -> torch.Tensor:
        """``vectors`` (B, heads, tokens, head width) turned, so that a query's product with a key depends on how far apart they are alone."""
        even, odd = vectors[..., 0::2], vectors[..., 1::2]
        cosine, sine = self.cosine.to(vectors.dtype), self.sine.to(vectors.dtype)
        return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], dim=-1).flatten(-2)


def rotary(width: int, grid: Grid) -> Rotation:
    """Rotary positions in three axes for heads of ``width`` channels (Assran et al., 2025, section 2.1; Su et al., 2021, equation 15 along each axis).

    Time, rows and columns turn a third of the channels each, rounded down to pairs; what is left over is not turned.
    """
    pairs = width // 3 // 2
    rates = _BASE ** (-torch.arange(pairs, dtype=torch.float64) / max(1, pairs))
    angles = (grid.coordinates()[:, :, None] * rates).flatten(1)
    angles = torch.nn.functional.pad(angles, (0, width // 2 - angles.shape[1]))
    return Rotation(angles.cos().float(), angles.sin().float())
