"""Where two clusters meet: how much features change there, beside how much they change inside either.

Where one thing ends and another begins, adjacent patches differ more than inside either thing; where a cluster was only cut in two
they hardly do. The spectrum does not know this: it asks which patches look alike, and the near and the far end of one facade may not.
Contours in images are judged in the same way, by what lies along the common border of two regions (Arbeláez et al. 2011, section 4);
here it is all borders of two clusters in all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from stego_app.discovery.correspondences import adjacent_pairs
from stego_app.discovery.spectral import Matrix
from stego_app.discovery.tree import Labels, by_cluster

Cosines = npt.NDArray[np.float32]

LIKE = 0.2
"""Cosine of two clusters' directions under which they are never one thing, however soft their border: codes of other things have none."""
SOFT = 1.15
"""Standard deviations of the cosine of adjacent patches inside clusters by which it may be lower across a border that is none (Cohen 1988)."""
_SHARE = 0.03
"""Share of a cluster's border that two must have in common to be judged by it: as much is counted as unlike beside what they have."""


class Borders(NamedTuple):
    """Adjacent patches of whole images by the clusters (or codes) of both, (M, M) symmetric: ``counts``, sums of their ``cosines``, and of the ``squares``."""

    counts: Matrix
    cosines: Matrix
    squares: Matrix

    def of(self, labels: Labels) -> Borders:
        """The same of clusters: ``labels`` (M,) is the cluster of each code, 0 to B - 1."""
        return Borders(*(by_cluster(table, labels) for table in self))

    def change(self) -> Matrix:
        """By how many standard deviations (B, B) the cosine of adjacent patches falls from inside two clusters to their border; inf where nothing is known."""
        inside, border = np.diag(self.counts), self.counts.sum(1) - np.diag(self.counts)
        with np.errstate(divide="ignore", invalid="ignore"):
            own = np.diag(self.cosines) / inside
            deviation = np.sqrt(np.maximum(np.diag(self.squares) / inside - own**2, 1e-9))
            across = self.cosines / (self.counts + _SHARE * np.minimum(border[:, None], border[None]))
            found = ((own[:, None] + own[None]) / 2 - across) / ((deviation[:, None] + deviation[None]) / 2)
        return np.where((self.counts > 0) & np.isfinite(found), found, np.inf)


def adjacent_cosines(tokens: torch.Tensor, grid: tuple[int, int]) -> Cosines:
    """Cosine (n,) of each of the `adjacent_pairs` of patches; ``tokens`` (h·w, D) are unit."""
    first, second = (torch.from_numpy(rows) for rows in adjacent_pairs(np.arange(len(tokens)).reshape(grid)))
    return np.asarray((tokens[first] * tokens[second]).sum(1).numpy())


def borders(maps: Sequence[npt.NDArray[np.integer]], cosines: Sequence[Cosines], size: int) -> Borders:
    """Of images as maps (h, w) of codes 0 to ``size`` - 1, with the `adjacent_cosines` of each."""
    place = np.concatenate([first * size + second for first, second in map(adjacent_pairs, maps)])
    cosine = np.concatenate(cosines).astype(np.float64)
    tables = [np.bincount(place, weights, size * size).reshape(size, size) for weights in (np.ones_like(cosine), cosine, cosine**2)]
    return Borders(*(np.asarray(table + table.T, dtype=np.float64) for table in tables))


def join_across(pieces: Labels, classes: int, found: Borders, vectors: Matrix, weights: Matrix) -> Labels:
    """Class (M,) of each code: ``pieces`` joined two at a time until ``classes`` are left.

    First those that no border keeps apart, the softest first; when there are none, those whose directions are most alike.

    Args:
        pieces: (M,) more than ``classes`` of them, numbered from 0, all in use.
        classes: K.
        found: borders of the codes.
        vectors: (M, E) of each code; their weighted sum is a piece's direction.
        weights: (M,).
    """
    found = found.of(pieces)
    sums = np.eye(len(found.counts))[pieces].T @ (vectors * weights[:, None])
    labels = np.arange(len(sums))
    while (count := int(labels.max()) + 1) > classes:
        own = np.eye(count)[labels].T @ sums
        directions = own / np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-12)
        alike = directions @ directions.T
        change = found.of(labels).change()
        pairs = np.triu(np.ones((count, count), dtype=bool), 1)
        soft = pairs & (change <= SOFT) & (alike >= LIKE)
        best = np.where(soft, change, np.inf).argmin() if soft.any() else np.where(pairs, alike, -np.inf).argmax()
        first, second = (int(i) for i in np.unravel_index(best, pairs.shape))
        labels[labels == second] = first
        labels[labels > second] -= 1
    return labels[pieces]
