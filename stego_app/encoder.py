"""Images to patch tokens for labelling: whole, or in overlapping windows where an image is larger than one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from stego_app.features.extract import features_of, resize_for_backbone
from stego_app.runtime.tokens import PatchTokens

OVERLAP = 1 / 3
"""Share of a window that its neighbour sees too."""


@dataclass(frozen=True)
class Encoded:
    """An image and its patch tokens, from which labels at any granularity can be decoded.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        tokens: (h*w, C) float32, row by row.
        grid: (h, w).
    """

    image: npt.NDArray[np.uint8]
    tokens: torch.Tensor
    grid: tuple[int, int]


def window_starts(length: int, window: int) -> list[int]:
    """First positions of windows of ``window`` that cover ``length``, evenly spread, overlapping by at least `OVERLAP`.

    One window at 0 if ``length`` fits in it.
    """
    if length <= window:
        return [0]
    step = max(1, int(window * (1 - OVERLAP)))
    count = -(-(length - window) // step) + 1
    return [round(index * (length - window) / (count - 1)) for index in range(count)]


def encode_images(
    source: PatchTokens,
    images: Sequence[npt.NDArray[np.uint8]],
    *,
    resolution: int,
    window: int = 0,
    flip: bool = False,
    brighten: bool = False,
    batch_size: int = 8,
) -> list[Encoded]:
    """Patch tokens of ``images`` (each (H, W, 3) uint8) at ``resolution`` pixels of the short side.

    Args:
        source: the backbone in some runtime.
        images: of any sizes.
        resolution: short side in pixels.
        window: side of the windows in pixels, rounded to whole patches; 0 to see each image whole.
        flip: average with the tokens of the mirrored image.
        brighten: dark images, each as a whole; see `stego_app.features.exposure.brightened`.
        batch_size: inputs a forward pass.
    """
    patch = source.patch_size
    inputs = [resize_for_backbone(image, resolution, patch, brighten=brighten) for image in images]
    side = max(1, round(window / patch)) * patch if window else 0
    pieces: list[torch.Tensor] = []
    places: list[list[tuple[int, int]]] = []
    for whole in inputs:
        height, width = whole.shape[1] // patch, whole.shape[2] // patch
        reach = side // patch or max(height, width)
        corners = [(top, left) for top in window_starts(height, reach) for left in window_starts(width, reach)]
        places.append(corners)
        pieces += [whole[:, top * patch : (top + reach) * patch, left * patch : (left + reach) * patch] for top, left in corners]
    features = iter(features_of(source, pieces, flip=flip, batch_size=batch_size))
    encoded: list[Encoded] = []
    for image, whole, corners in zip(images, inputs, places, strict=True):
        grid = (whole.shape[1] // patch, whole.shape[2] // patch)
        parts = [next(features) for _ in corners]
        joined = parts[0] if len(parts) == 1 else blend_windows(parts, corners, grid)
        encoded.append(Encoded(image, joined.flatten(1).T.contiguous(), grid))
    return encoded


def blend_windows(parts: Sequence[torch.Tensor], corners: Sequence[tuple[int, int]], grid: tuple[int, int]) -> torch.Tensor:
    """One (C, h, w) map from overlapping windows, each (C, a, b) with its top left patch at ``corners``.

    Windows are averaged with weights that fall towards their borders, where a patch has seen least around it.
    """
    total = torch.zeros(parts[0].shape[0], *grid)
    weights = torch.zeros(grid)
    for part, (top, left) in zip(parts, corners, strict=True):
        weight = torch.outer(_tent(part.shape[1]), _tent(part.shape[2]))
        total[:, top : top + part.shape[1], left : left + part.shape[2]] += part * weight
        weights[top : top + part.shape[1], left : left + part.shape[2]] += weight
    return total / weights


def _tent(length: int) -> torch.Tensor:
    position = torch.arange(length, dtype=torch.float32)
    return torch.minimum(position + 1, length - position)
