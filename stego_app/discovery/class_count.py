"""How many classes: as many as correspondences of held-out images confirm.

Give each class k the code e_k / sqrt(p_k), p_k its share of patches: orthogonal, and of equal weight whatever its size. Then
the shift-free pair loss (see `spectral`) of K classes is, up to a constant,

    L(K) = K - 2 sum_k r_k,     r_k = P(a correspondence that starts in class k ends in class k)

so one more class pays exactly when it adds more than one half to the sum of retentions. On real images that stays about even over a
wide range of K, in which noise would choose: a class costs `PRICE` here, not 1, so that of many K that are as good the few win. Classes are found on one half
of the images and r_k is counted on the other half, both ways round; without the second half L would fall for longer than
the classes hold. Over several splits into halves, the smallest K is taken whose mean loss lies within one standard error of
the smallest (Breiman et al. 1984, section 3.4.3). The fewer images, the fewer classes they can confirm; with
very few, or with images that share little, nothing can be checked and a fixed number is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.discovery.halves import Split
from stego_app.discovery.spectral import Matrix, Spectrum, cluster_codes, spectral_codes
from stego_app.discovery.tree import by_cluster

MOST_CLASSES = 50
PRICE = 1.1
"""Chosen on two labelled sets: at 1 nearly twice as many classes are found as one of them has, from 1.15 on two thirds of the other's or fewer."""
UNCHECKED_CLASSES = 8
"""The number used where images cannot check each other."""


class ClassCount(NamedTuple):
    """``classes``: the K taken. ``losses``: K to held-out L(K) at `PRICE`, mean over splits."""

    classes: int
    losses: dict[int, float]


def held_out_loss(labels: npt.NDArray[np.int64], cross: Matrix, price: float = 1.0) -> float:
    """L of classes ``labels`` (M,) under ``cross`` (M, M), counts of correspondences of other images than they come from, at ``price`` a class."""
    joint = by_cluster(cross + cross.T, labels)
    share = joint.sum(1)
    # A class that held-out images do not show at all is not confirmed by them: it retains nothing.
    retained = np.divide(np.diag(joint), share, out=np.zeros(len(share)), where=share > 0)
    return float(price * len(share) - 2 * retained.sum())


def choose_classes(splits: Sequence[Split], seed: int) -> ClassCount:
    """The number of classes from 2 to `MOST_CLASSES` that held-out images confirm; fewer if no more can be told apart.

    Args:
        splits: for each split of the images, what either half shows; each may have a codebook of its own.
        seed: of the clusterings.

    Raises:
        StegoError: the images cannot be told apart into two classes.
    """
    most = max(2, min(MOST_CLASSES, min(split.shown for split in splits) // 8))
    losses = [_losses(split, most, seed) for split in splits]
    table = np.array([found[: min(map(len, losses))] for found in losses])
    if not table.size:
        raise StegoError("the images look the same everywhere: no two classes can be told apart")
    mean = table.mean(0)
    best = int(mean.argmin())
    error = table[:, best].std(ddof=1) / np.sqrt(len(table)) if len(table) > 1 else 0.0
    chosen = int(np.flatnonzero(mean <= mean[best] + error)[0])
    return ClassCount(chosen + 2, {count: float(loss) for count, loss in enumerate(mean, start=2)})


def _losses(split: Split, most: int, seed: int) -> list[float]:
    """Held-out loss of 2, 3, … classes, both ways round, as far as codes can be told apart."""
    fits = zip(_classes_of(split.first.pairs.eigen(), most, seed), _classes_of(split.second.pairs.eigen(), most, seed), strict=False)
    return [
        held_out_loss(first[split.first.carry], split.second.cross, PRICE) + held_out_loss(second[split.second.carry], split.first.cross, PRICE)
        for first, second in fits
    ]


def unchecked_classes(found: Spectrum, seed: int) -> int:
    """`UNCHECKED_CLASSES`, or as many as codes can be told apart into.

    Raises:
        StegoError: they cannot be told apart into two.
    """
    counts = [int(labels.max()) + 1 for labels in _classes_of(found, min(UNCHECKED_CLASSES, len(found.values)), seed)]
    if not counts:
        raise StegoError("the images look the same everywhere: no two classes can be told apart")
    return max(counts)


def _classes_of(found: Spectrum, most: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Labels for 2, 3, … classes, as far as codes can be told apart."""
    for count in range(2, most + 1):
        try:
            yield cluster_codes(spectral_codes(found, count), found.degrees, count, seed)
        except StegoError:
            return
