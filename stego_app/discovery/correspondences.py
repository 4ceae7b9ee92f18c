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
from scipy import sparse

_BACKGROUND = 1e-6
_CHUNK = 1_000
"""Patches whose cosines with the others are held at a time."""


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
    order = np.argsort(image, kind="stable")
    tokens, image, sorted_codes = tokens[torch.from_numpy(order)], image[order], codes.numpy()[order]
    _, starts, counts = np.unique(image, return_index=True, return_counts=True)
    images = np.stack([starts, starts + counts], axis=1)
    partners = _partners_elsewhere(tokens, images, sorted_codes, size, threshold)
    alone = np.asarray(partners.sum(1) == 0)
    for start, end in images.tolist():
        lonely = start + np.flatnonzero(alone[start:end])
        for rows in np.split(lonely, range(_CHUNK, len(lonely), _CHUNK)):
            near = (tokens[torch.from_numpy(rows)] @ tokens[start:end].T >= threshold).numpy()
            near[np.arange(len(rows)), rows - start] = False
            row, column = np.divmod(np.flatnonzero(near), end - start)
            partners[rows] = _counted(row, sorted_codes[start + column], len(rows), size)
    shares = 1 / np.maximum(partners.sum(1), 1)
    of_code = sparse.csr_matrix((shares, sorted_codes, np.arange(len(image) + 1)), shape=(len(image), size))
    return CrossLinks(np.asarray(of_code.T @ partners), np.count_nonzero(~alone) / max(1, len(image)))


def _partners_elsewhere(
    tokens: torch.Tensor, images: npt.NDArray[np.int64], codes: npt.NDArray[np.int64], size: int, threshold: float
) -> npt.NDArray[np.int32]:
    """How many partners of each code (n, M) a patch has in other images; ``images`` (I, 2) are ranges of the patches.

    Being alike is mutual, so each pair is looked at once, a square of the table at a time.
    """
    partners = np.zeros((len(tokens), size), dtype=np.int32)
    chunks = [(start, min(start + _CHUNK, len(tokens))) for start in range(0, len(tokens), _CHUNK)]
    for number, (top, bottom) in enumerate(chunks):
        for left, right in chunks[number:]:
            near = (tokens[top:bottom] @ tokens[left:right].T >= threshold).numpy()
            for start, end in images[(images[:, 0] < bottom) & (images[:, 1] > left)].tolist():
                near[max(start, top) - top : end - top, max(start, left) - left : end - left] = False
            row, column = np.divmod(np.flatnonzero(near), right - left)
            partners[top:bottom] += _counted(row, codes[left + column], bottom - top, size)
            if left > top:
                partners[left:right] += _counted(column, codes[top + row], right - left, size)
    return partners


def _counted(rows: npt.NDArray[np.int64], codes: npt.NDArray[np.int64], count: int, size: int) -> npt.NDArray[np.int32]:
    """How often each code occurs in each row: (count, size)."""
    return np.bincount(rows * size + codes, minlength=count * size).reshape(count, size).astype(np.int32)


def adjacent_pairs(grid: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """What stands at both places of each pair of vertically, then of horizontally adjacent places of a grid (h, w): two arrays (n,), in reading order."""
    wide = grid.astype(np.int64)  # products of codes outgrow the type that maps of them are kept in
    return np.concatenate([wide[1:].ravel(), wide[:, 1:].ravel()]), np.concatenate([wide[:-1].ravel(), wide[:, :-1].ravel()])


def adjacent_links(grids: Iterable[npt.NDArray[np.integer]], size: int) -> npt.NDArray[np.float64]:
    """Count horizontally and vertically adjacent patches: (M, M) float64 from grids (h, w) of codes."""
    counts = np.zeros(size * size, dtype=np.int64)
    for grid in grids:
        first, second = adjacent_pairs(grid)
        counts += np.bincount(first * size + second, minlength=size * size)
    return counts.reshape(size, size).astype(np.float64)


def same_image_pairs(grids: Iterable[npt.NDArray[np.integer]], size: int) -> npt.NDArray[np.float64]:
    """The distribution (M, M) of two different patches of one image, each image counting alike; zero where no image has two."""
    shares = [np.zeros(size)]
    own = np.zeros(size)
    for grid in grids:
        if grid.size > 1:
            counts = np.bincount(grid.ravel().astype(np.int64), minlength=size)
            shares.append(counts / np.sqrt(grid.size * (grid.size - 1.0)))
            own += counts / (grid.size * (grid.size - 1.0))
    table = np.stack(shares)
    pairs = table.T @ table - np.diag(own)  # less each patch with itself
    return np.asarray(pairs / max(1, len(table) - 1))


def pair_distribution(cross: npt.NDArray[np.float64], adjacent: npt.NDArray[np.float64], adjacent_weight: float) -> npt.NDArray[np.float64]:
    """The distribution (M, M) of positive pairs of codes: symmetric, positive, sums to 1."""
    size = len(cross)
    joined = np.full((size, size), _BACKGROUND / size**2)
    for counts, weight in ((cross, 1.0), (adjacent, adjacent_weight)):
        if counts.sum() > 0:
            joined += weight * (counts + counts.T) / (2 * counts.sum())
    return np.asarray(joined / joined.sum())
