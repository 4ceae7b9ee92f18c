"""A linear probe on frozen patch tokens: how much about the classes can be read off them linearly.

Tokens are upsampled bilinearly to pixels and classified by multinomial logistic regression (STEGO, section 4; Cho et al.
2021). Classifying and upsampling commute, so training on sampled pixels needs the tokens around those pixels only, and
prediction upsamples logits. The problem is convex and is solved to its optimum: no learning rate or step count to choose.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cross_entropy, interpolate

from models.errors import StegoError
from stego_app.evaluation.histogram import VOID

L2 = 1e-4
"""Weight of the squared weights beside the mean cross-entropy, on standardised tokens."""

POINTS = 100_000
"""Pixels to train on, spread evenly over the images: bounds memory whatever the size of the set."""


@dataclass(frozen=True)
class LinearProbe:
    """``softmax(((token - mean) / scale) @ weight + bias)``: mean and scale (C,), weight (C, K), bias (K,), all float32."""

    mean: torch.Tensor
    scale: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, K) of tokens (n, C)."""
        return ((tokens - self.mean) / self.scale) @ self.weight + self.bias

    def predict(self, tokens: torch.Tensor, grid: tuple[int, int], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """Class (H, W) of each pixel of an image of ``size`` (H, W), from its tokens (h*w, C) on ``grid`` (h, w)."""
        maps = self.logits(tokens.float()).T.reshape(1, -1, *grid)
        found: npt.NDArray[np.uint8] = interpolate(maps, size=size, mode="bilinear", align_corners=False)[0].argmax(dim=0).to(torch.uint8).numpy()
        return found


def fit_linear_probe(tokens: torch.Tensor, labels: torch.Tensor, classes: int, *, l2: float = L2, iterations: int = 200) -> LinearProbe:
    """Minimise mean cross-entropy + ``l2``/2 · ‖weight‖² on standardised tokens by L-BFGS, from zero.

    Args:
        tokens: (n, C) float.
        labels: (n,) int64, 0 to ``classes`` - 1.
        classes: K.
        l2: weight of the penalty; the bias is free.
        iterations: at most this many; it stops before where the gradient is negligible.

    Raises:
        StegoError: no token to train on.
    """
    if len(tokens) == 0:
        raise StegoError("linear probe: no labelled pixel to train on")
    tokens = tokens.float()
    mean = tokens.mean(dim=0)
    scale = tokens.std(dim=0, correction=0).clamp(min=1e-6)
    standard = (tokens - mean) / scale
    weight = torch.zeros(tokens.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=iterations, tolerance_grad=1e-5, tolerance_change=1e-9, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        solver.zero_grad()
        value = cross_entropy(standard @ weight + bias, labels) + l2 / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        solver.step(loss)  # type: ignore[no-untyped-call]
    return LinearProbe(mean, scale, weight.detach(), bias.detach())


def tokens_at(tokens: torch.Tensor, grid: tuple[int, int], size: tuple[int, int], rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Tokens (h*w, C) upsampled bilinearly to ``size`` (H, W), at the pixels (``rows``, ``columns``) (n,) only: (n, C).

    Pixel centres are aligned and borders repeated, as in ``interpolate(mode="bilinear", align_corners=False)``.
    """
    top, below, down = _neighbours(rows, grid[0], size[0])
    left, right, across = _neighbours(columns, grid[1], size[1])
    upper = torch.lerp(tokens[top * grid[1] + left], tokens[top * grid[1] + right], across[:, None])
    lower = torch.lerp(tokens[below * grid[1] + left], tokens[below * grid[1] + right], across[:, None])
    return torch.lerp(upper, lower, down[:, None])


def _neighbours(pixels: torch.Tensor, cells: int, length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The two cells around each pixel centre along one side, and how far it is towards the second."""
    position = ((pixels.float() + 0.5) * cells / length - 0.5).clamp(0, cells - 1)
    first = position.floor().long()
    return first, (first + 1).clamp(max=cells - 1), position - first


@dataclass
class ProbePoints:
    """Pixels drawn from labelled images, with their upsampled tokens in half precision, to train a probe on.

    Attributes:
        images: how many images are to come.
        classes: K.
        seed: of the draw; equal seeds draw the same pixels from the same labels.
        points: pixels in all.
    """

    images: int
    classes: int
    seed: int = 0
    points: int = POINTS
    _tokens: list[torch.Tensor] = field(default_factory=list)
    _labels: list[torch.Tensor] = field(default_factory=list)

    def add(self, tokens: torch.Tensor, grid: tuple[int, int], label: npt.NDArray[np.uint8]) -> None:
        """Draw this image's share of pixels that are not void; tokens (h*w, C) on ``grid`` (h, w), label (H, W)."""
        random = np.random.default_rng((self.seed, len(self._tokens)))  # one an image, so that an evaluation can go on where it was cut off
        rows, columns = np.nonzero(label != VOID)
        chosen = random.permutation(len(rows))[: max(1, self.points // max(1, self.images))]
        at = torch.from_numpy(rows[chosen]), torch.from_numpy(columns[chosen])
        self._tokens.append(tokens_at(tokens.float(), grid, (label.shape[0], label.shape[1]), *at).half())
        self._labels.append(torch.from_numpy(label[rows[chosen], columns[chosen]].astype(np.int64)))

    def fit(self) -> LinearProbe:
        """The probe of everything added.

        Raises:
            StegoError: no labelled pixel was added.
        """
        if not self._tokens:
            raise StegoError("linear probe: no labelled pixel to train on")
        return fit_linear_probe(torch.cat(self._tokens), torch.cat(self._labels), self.classes)

    def state(self) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
        """Tokens (n, C) half, labels (n,) and how many of them each image gave."""
        if not self._tokens:
            return torch.zeros(0, 0, dtype=torch.half), torch.zeros(0, dtype=torch.long), []
        return torch.cat(self._tokens), torch.cat(self._labels), [len(part) for part in self._tokens]

    def restore(self, tokens: torch.Tensor, labels: torch.Tensor, lengths: list[int]) -> None:
        """Go on from `state`."""
        self._tokens, self._labels = list(torch.split(tokens, lengths)), list(torch.split(labels, lengths))
