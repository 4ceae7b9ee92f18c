"""Which codes correspond: pairs of patches that should get the same class, counted on the codebook.

Two patches of *different* images correspond when they are as similar as two views of one point nearly always are
(`metric.same_point_similarity`). The zero of that scale is the same for every data set, so neither a number of
neighbours nor a shift is left to tune. Each patch spreads one unit over all its partners, however many there are:
a class seen by night links to the same class by day even where its nearest neighbours are all by night. A patch without any
partner in other images looks for partners in its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

_BACKGROUND = 1e-6
_CHUNK = 1_000


class CrossLinks(NamedTuple):
    """``counts`` (M, M) float64: row i, where the correspondences of patches of code i lead.

    ``linked``: share of patches with a partner in another image.
    """

    counts: npt.NDArray[np.float64]
    linked: float


def cross_image_links(tokens: torch.Tensor, image: npt.NDArray[np.int64], codes: torch.Tensor, size: int, threshold: float) -> CrossLinks:
    """Count correspondences between patches of different images; of one image for patches that have none.

    Args:
        tokens: (n, D) unit vectors.
        image: (n,) the image of each.
        codes: (n,) the code of each.
        size: M, number of codes.
        threshold: cosine from which two patches correspond.
    """
    order = np.argsort(codes.numpy(), kind="stable")
    tokens, image, sorted_codes = tokens[torch.from_numpy(order)], image[order], codes.numpy()[order]
    present, starts = np.unique(sorted_codes, return_index=True)
    counts = np.zeros((size, size))
    linked = 0
    for start in range(0, len(tokens), _CHUNK):
        rows = slice(start, start + _CHUNK)
        near = (tokens[rows] @ tokens.T).numpy() >= threshold
        near[np.arange(len(near)), np.arange(start, start + len(near))] = False
        other = image[rows, None] != image[None]
        elsewhere = (near & other).any(1)
        near &= np.where(elsewhere[:, None], other, ~other)
        # Columns are sorted by code: partners of each code are a sum over a run of columns.
        partners = np.add.reduceat(near, starts, axis=1, dtype=np.float32)
        total = partners.sum(1, keepdims=True)
        linked += int(elsewhere.sum())
        np.add.at(counts, (sorted_codes[rows, None], present[None]), partners / np.maximum(total, 1))
    return CrossLinks(counts, linked / max(1, len(tokens)))


def adjacent_links(grids: Iterable[npt.NDArray[np.int64]], size: int) -> npt.NDArray[np.float64]:
    """Count horizontally and vertically adjacent patches: (M, M) float64 from grids (h, w) of codes."""
    counts = np.zeros(size * size, dtype=np.int64)
    for grid in grids:
        for first, second in ((grid[1:], grid[:-1]), (grid[:, 1:], grid[:, :-1])):
            counts += np.bincount((first * size + second).ravel(), minlength=size * size)
    return counts.reshape(size, size).astype(np.float64)


def pair_distribution(cross: npt.NDArray[np.float64], adjacent: npt.NDArray[np.float64], adjacent_weight: float) -> npt.NDArray[np.float64]:
    """The distribution (M, M) of positive pairs of codes: symmetric, positive, sums to 1."""
    size = len(cross)
    joined = np.full((size, size), _BACKGROUND / size**2)
    for counts, weight in ((cross, 1.0), (adjacent, adjacent_weight)):
        if counts.sum() > 0:
            joined += weight * (counts + counts.T) / (2 * counts.sum())
    return np.asarray(joined / joined.sum())
