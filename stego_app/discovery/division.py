"""Codes divided into classes, directly or by way of more clusters that are joined again.

k-means likes clusters of equal size: where one thing covers most of the images (soil in a field, sky, background) it divides that
by lighting or place before it tells apart what is small. More clusters, joined along the tree until the classes are left, find the
small things there; on images whose things are of like size they only lose. Which of the two a set of images needs is told by its
halves: of a few numbers to begin with, the one is taken whose divisions of either half agree most (adjusted Rand index), and the
direct one unless another agrees clearly more.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from sklearn.metrics import adjusted_rand_score

from models.errors import StegoError
from stego_app.clusters import cut
from stego_app.discovery.halves import Split
from stego_app.discovery.spectral import Matrix, Spectrum, cluster_codes, spectral_codes
from stego_app.discovery.tree import Labels, merge_order

CLEARLY = 0.1
"""Agreement that another number of clusters must gain. Below it lie differences between splits of one set that mean nothing for the classes."""


def divide(eigen: Spectrum, pairs: Matrix, classes: int, begun: int, seed: int) -> Labels:
    """Class (M,) of each code: ``begun`` clusters, joined by normalised co-occurrence until ``classes`` are left.

    Args:
        eigen: eigenpairs of ``pairs``.
        pairs: (M, M) distribution of positive pairs.
        classes: K.
        begun: number of clusters to begin with, K or more.
        seed: of k-means.

    Raises:
        StegoError: fewer distinct codes than clusters.
    """
    labels = cluster_codes(spectral_codes(eigen, begun), eigen.degrees, begun, seed)
    if begun == classes:
        return labels
    return cut(merge_order(pairs, labels, np.arange(begun)), classes)[labels]


def choose_begun(splits: Sequence[Split], classes: int, seed: int) -> int:
    """With how many clusters to begin for ``classes``, by the agreement of halves of the images; with the classes themselves where there are no ``splits``."""
    if not splits:
        return classes
    agreements = {begun: found for begun in _numbers(classes) if (found := _agreement(splits, classes, begun, seed)) is not None}
    if classes not in agreements:
        return classes
    best = max(agreements, key=lambda begun: agreements[begun])
    return best if agreements[best] >= agreements[classes] + CLEARLY else classes


def _numbers(classes: int) -> list[int]:
    return sorted({classes, classes + 1, classes + 2, ceil(1.5 * classes), 2 * classes})


def _agreement(splits: Sequence[Split], classes: int, begun: int, seed: int) -> float | None:
    """Mean adjusted Rand index of the divisions of either half; None where a half cannot be told apart into so many clusters."""
    found = []
    for split in splits:
        if begun > split.shown:
            return None
        try:
            first, second = (divide(half.eigen, half.pairs, classes, begun, seed)[half.carry][split.codes] for half in (split.first, split.second))
        except StegoError:
            return None
        found.append(adjusted_rand_score(first, second))
    return float(np.mean(found))
