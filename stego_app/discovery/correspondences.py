"""Which codes correspond: pairs of patches that should get the same class, counted on the codebook.

Two patches of *different* images correspond when they are as similar as two views of one point nearly always are
(`metric.same_point_similarity`). The zero of that scale is the same for every data set, so neither a number of
neighbours nor a shift is left to tune. Each patch spreads one unit over all its partners, however many there are:
a class seen by night links to the same class by day even where its nearest neighbours are all by night. A patch without any
partner in other images looks for partners in its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    own = {one: np.flatnonzero(image == one) for one in np.unique(image).tolist()}
    counts = np.zeros((size, size))
    linked = 0
    for start in range(0, len(tokens), _CHUNK):
        rows = slice(start, start + _CHUNK)
        near = (tokens[rows] @ tokens.T >= threshold).numpy()
        near[np.arange(len(near)), np.arange(start, start + len(near))] = False
        linked += _prefer_other_images(near, image[rows], own)
        row, partner = np.divmod(np.flatnonzero(near), len(tokens))
        partners = np.bincount(row * size + sorted_codes[partner], minlength=len(near) * size).reshape(-1, size)
        shares = partners / np.maximum(partners.sum(1, keepdims=True), 1)
        present, starts = np.unique(sorted_codes[rows], return_index=True)
        counts[present] += np.add.reduceat(shares, starts, axis=0)  # rows are sorted by code
    return CrossLinks(counts, linked / max(1, len(tokens)))


def _prefer_other_images(near: npt.NDArray[np.bool_], image: npt.NDArray[np.int64], own: Mapping[int, npt.NDArray[np.int64]]) -> int:
    """Leave each row of ``near`` (m, n) only its partners in other images, where it has any; returns how many rows have.

    Only the few columns of a row's own image are touched, since whole masks of other images would cost more than the similarities.
    """
    inside: dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]] = {}
    for one in np.unique(image).tolist():
        rows = np.flatnonzero(image == one)
        places = np.ix_(rows, own[one])
        inside[one] = rows, np.asarray(near[places])
        near[places] = False
    elsewhere = np.asarray(near.any(1))
    for one, (rows, block) in inside.items():
        alone = ~elsewhere[rows]
        near[np.ix_(rows[alone], own[one])] = block[alone]
    return int(elsewhere.sum())


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
