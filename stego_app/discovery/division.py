"""Codes divided into classes, directly or by way of more clusters that are joined again.

k-means likes clusters of equal size: where one thing covers most of the images (soil in a field, sky, background) it divides that
by lighting or place before it tells apart what is small. More clusters, joined along the tree until the classes are left, find the
small things there; on images whose things are of like size they only lose. Which of the two a set of images needs is told by its
halves: of a few numbers to begin with, the one is taken whose divisions of either half agree most, and the direct one unless another
agrees clearly more, and no less on how images are divided: classes that tell whole images apart are easily agreed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
from sklearn.metrics import adjusted_rand_score

from models.errors import StegoError
from stego_app.clusters import cut
from stego_app.discovery.agreement import agreement_within_images
from stego_app.discovery.borders import Borders, join_across
from stego_app.discovery.halves import Split
from stego_app.discovery.pairs import IMAGE_WEIGHT, Pairs
from stego_app.discovery.spectral import cluster_codes, code_vectors, finer, spectral_codes
from stego_app.discovery.tree import Labels, Tree, build_tree, merge_order

PIECES = 1.25
"""Pieces for each class that are joined again. Twice as many join things that are none."""
CLEARLY = 0.1
"""Agreement that another number of clusters must gain. Below it lie differences between splits of one set that mean nothing for the classes."""


class Way(NamedTuple):
    """How classes are found: ``begun`` clusters, joined to the classes; ``image_weight`` of their spectrum, see `image_weight`."""

    begun: int
    image_weight: float = IMAGE_WEIGHT


def divide(pairs: Pairs, classes: int, way: Way, seed: int) -> Labels:
    """Class (M,) of each code: ``way.begun`` clusters, joined by normalised co-occurrence until ``classes`` are left.

    Args:
        pairs: of the codes.
        classes: K.
        way: its number of clusters is K or more.
        seed: of k-means.

    Raises:
        StegoError: fewer distinct codes than clusters.
    """
    if way.begun > pairs.size:
        raise StegoError(f"classes {way.begun}: a draw holds only {pairs.size} distinct features")
    eigen = pairs.eigen(way.image_weight)
    labels = cluster_codes(spectral_codes(eigen, way.begun), eigen.degrees, way.begun, seed)
    if way.begun == classes:
        return labels
    return cut(merge_order(pairs.joint, labels, np.arange(way.begun)), classes)[labels]


def tree_beneath(pairs: Pairs, labels: Labels, way: Way, fine: int) -> Tree:
    """The tree of ``fine`` clusters beneath the classes ``labels`` (M,), which were found in this ``way``."""
    eigen = pairs.eigen(way.image_weight)
    return build_tree(spectral_codes(eigen, finer(eigen, way.begun)), pairs.joint, labels, fine)


def mend(pairs: Pairs, found: Borders, labels: Labels, way: Way, fine: int) -> Labels:
    """Class (M,) of each code: the classes ``labels``, cut into `PIECES` times as many and joined again where borders are soft.

    What was divided that is one thing is joined so, and what is left of the number of classes goes to where the tree divides next.
    Fewer than four classes stay as they are.

    Args:
        pairs: of the codes.
        found: borders of the codes.
        labels: what `divide` gives.
        way: how it was asked to.
        fine: fine clusters of which the tree is made that gives the pieces.
    """
    classes = int(labels.max()) + 1
    pieces = min(int(PIECES * classes), pairs.size)
    if pieces <= classes:
        return labels
    eigen = pairs.eigen(way.image_weight)
    tree = tree_beneath(pairs, labels, way, min(pairs.size, max(fine, pieces)))
    return join_across(cut(tree.merges, pieces)[tree.leaf_of_code], classes, found, code_vectors(eigen, way.begun), eigen.degrees)


def choose_way(splits: Sequence[Split], classes: int, image_weight: float, seed: int) -> Way:
    """With how many clusters to begin for ``classes``, by the agreement of halves of the images; with the classes themselves where there are no ``splits``."""
    direct = Way(classes, image_weight)
    agreed = _agreement(splits, classes, direct, seed)
    if agreed is None:
        return direct
    numbers = sorted({classes + 1, classes + 2, ceil(1.5 * classes), 2 * classes} - {classes})
    ways = [Way(begun, image_weight) for begun in numbers]
    found = {way: agreement for way in ways if (agreement := _agreement(splits, classes, way, seed)) is not None}
    better = [way for way, agreement in found.items() if agreement.all >= agreed.all + CLEARLY and agreement.within >= agreed.within]
    return max(better, key=lambda way: found[way].all, default=direct)


class _Agreement(NamedTuple):
    """Adjusted Rand index over ``all`` pairs of patches, and over those ``within`` images."""

    all: float
    within: float


def _agreement(splits: Sequence[Split], classes: int, way: Way, seed: int) -> _Agreement | None:
    """Mean agreement of the divisions of either half; None where there is none, or a half cannot be told apart into so many clusters."""
    found = []
    for split in splits:
        if way.begun > split.shown:
            return None
        try:
            first, second = (divide(half.pairs, classes, way, seed)[half.carry][split.codes] for half in (split.first, split.second))
        except StegoError:
            return None
        found.append((adjusted_rand_score(first, second), agreement_within_images(first, second, split.images)))
    return _Agreement(*np.mean(found, axis=0).tolist()) if found else None
