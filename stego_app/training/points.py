"""Features at sampled points of images, read from the cache without touching the rest of the image.

STEGO decodes every token and then samples 11 x 11 points an image; a head that is pointwise needs the points only. Positions
are those of the paper's sampling: uniform in [-1, 1]², where -1 and 1 are the centres of the first and last patch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from stego_app.features.cache import FeatureCache


def random_positions(images: int, points: int, generator: torch.Generator) -> torch.Tensor:
    """Positions (images, points, 2) as (x, y), uniform in [-1, 1]."""
    return torch.rand(images, points, 2, generator=generator) * 2 - 1


def bilinear(tokens: npt.NDArray[np.float16], grid: tuple[int, int], positions: torch.Tensor) -> torch.Tensor:
    """Tokens interpolated at ``positions``, reading only the four neighbours of each.

    Args:
        tokens: (h·w, C), row by row.
        grid: (h, w).
        positions: (N, 2) as (x, y) in [-1, 1].

    Returns:
        (N, C) float32.
    """
    height, width = grid
    x = (positions[:, 0].double().numpy() + 1) / 2 * (width - 1)
    y = (positions[:, 1].double().numpy() + 1) / 2 * (height - 1)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = x - left, y - top
    rows = np.stack([top * width + left, top * width + right, bottom * width + left, bottom * width + right])
    weights = np.stack([(1 - across) * (1 - down), across * (1 - down), (1 - across) * down, across * down]).astype(np.float32)
    # torch widens half floats in a third of NumPy's time.
    corners = torch.from_numpy(tokens[rows.reshape(-1)]).float().numpy().reshape(4, len(positions), -1)
    return torch.from_numpy(np.einsum("kn,knc->nc", weights, corners))


def feature_points(cache: FeatureCache, images: Sequence[int], positions: torch.Tensor) -> torch.Tensor:
    """Features (B, N, C) of the entries ``images`` at ``positions`` (B, N, 2)."""
    return torch.stack([bilinear(cache.tokens(image), cache.grid(image), at) for image, at in zip(images, positions, strict=True)])


def derangement(count: int, generator: torch.Generator) -> torch.Tensor:
    """A random order (count,) in which no image of a batch meets itself (as long as there are two)."""
    order = torch.randperm(count, generator=generator)
    own = order == torch.arange(count)
    order[own] = (order[own] + 1) % count
    return order
