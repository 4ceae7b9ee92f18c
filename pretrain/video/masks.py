"""Multi-block tube masks: blocks of an image that are masked in every frame (Bardes et al., 2024, section 3, "Masking")."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from pretrain.video.positions import Grid

_TRIES = 50


@dataclass(frozen=True)
class MaskKind:
    """``blocks`` blocks, each of the share ``scale`` of the frame's area, at an aspect drawn from ``aspect``; they may overlap."""

    blocks: int
    scale: float
    aspect: tuple[float, float] = (0.75, 1.5)


SHORT_RANGE = MaskKind(8, 0.15)
LONG_RANGE = MaskKind(2, 0.7)


def tube_masks(count: int, grid: Grid, kind: MaskKind) -> tuple[torch.Tensor, torch.Tensor]:
    """For each of ``count`` clips a random split of its tokens: seen (count, K) and masked (count, M) indices, each in order.

    The blocks' shape is drawn once for the batch and their places for each clip. For one length in a batch, the clips with more places seen than
    the one with the fewest lose random ones, in all frames alike: those are then neither seen nor masked.
    """
    shape = block_shape(grid, kind)
    least = max(1, grid.patches // 16)
    hidden = torch.stack([_hidden(grid, kind, shape, least) for _ in range(count)])
    seen = [(~one).nonzero().flatten() for one in hidden]
    masked = [one.nonzero().flatten() for one in hidden]
    return _over_time(_cut(seen), grid), _over_time(_cut(masked), grid)


def block_shape(grid: Grid, kind: MaskKind) -> tuple[int, int]:
    """Rows and columns of a block: its area is the share of the frame's, its aspect random."""
    area = grid.patches * kind.scale
    ratio = kind.aspect[0] + float(torch.rand(())) * (kind.aspect[1] - kind.aspect[0])
    return max(1, min(grid.rows, round(math.sqrt(area * ratio)))), max(1, min(grid.columns, round(math.sqrt(area / ratio))))


def _hidden(grid: Grid, kind: MaskKind, shape: tuple[int, int], least: int) -> torch.Tensor:
    """(rows · columns,) bool: the union of the blocks, at least ``least`` places of it free."""
    hidden = torch.zeros(grid.rows, grid.columns, dtype=torch.bool)
    for _ in range(_TRIES):
        hidden = torch.zeros_like(hidden)
        for _ in range(kind.blocks):
            top, left = int(torch.randint(grid.rows - shape[0] + 1, ())), int(torch.randint(grid.columns - shape[1] + 1, ()))
            hidden[top : top + shape[0], left : left + shape[1]] = True
        if int((~hidden).sum()) >= least:
            return hidden.flatten()
    # Small grids can be covered whole: free random places.
    flat = hidden.flatten()
    flat[torch.randperm(len(flat))[:least]] = False
    return flat


def _cut(places: list[torch.Tensor]) -> torch.Tensor:
    fewest = min(len(one) for one in places)
    return torch.stack([one[torch.randperm(len(one))[:fewest].sort().values] for one in places])


def _over_time(places: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Places (count, P) of a frame as tokens (count, times · P) of the clip."""
    starts = torch.arange(grid.times) * grid.patches
    return (starts[None, :, None] + places[:, None, :]).flatten(1)
