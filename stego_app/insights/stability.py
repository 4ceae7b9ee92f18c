"""Whether classes come back when they are looked for again with half of the images.

Hennig, "Cluster-wise assessment of cluster stability", Computational Statistics & Data Analysis 52, 2007: cluster again
after taking part of the data away, and compare each cluster with the most similar one of the new clustering by the Jaccard
coefficient. His rules for reading it are taken over: 0.75 or more is a stable cluster; under 0.6 it should not be trusted.

A division as a whole is compared by the adjusted Rand index (Hubert & Arabie 1985), since one class that covers most of the images
comes back whatever becomes of the others; read as Steinley, Psychological Methods 9, 2004, does: 0.8 or more is good, under 0.65 poor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.metrics import adjusted_rand_score

STABLE = 0.75
DOUBTFUL = 0.6
GOOD = 0.8
POOR = 0.65

Labels = npt.NDArray[np.int64]
Cuts = Mapping[int, Labels]
"""Labels (n,) of the same patches with K classes, and with fewer as far as there is a tree to cut."""
Refit = Callable[[Sequence[int], int], Callable[[npt.NDArray[np.float32]], Cuts] | None]
"""Entries of the cache and a seed to a new clustering of them, which labels patches (n, C); None where none can be made."""

FEWEST = 8
"""Images from which halves of them are used; with fewer, another seed on all of them."""


class Stability(NamedTuple):
    """Of one cut: ``labels`` (n,) of the patches; ``overlap`` (K,), the mean matched overlap of each class over the refits, NaN for a class without patches.

    ``agreement``: mean adjusted Rand index of the division with those of the refits.
    """

    labels: Labels
    overlap: npt.NDArray[np.float64]
    agreement: float


def matched_overlap(labels: Labels, other: Labels, classes: int) -> npt.NDArray[np.float64]:
    """Jaccard coefficient (K,) of each class of ``labels`` (n,) with the most similar of ``other`` (n,); NaN for a class without patches."""
    counts = np.zeros((classes, int(other.max()) + 1))
    np.add.at(counts, (labels, other), 1)
    union = counts.sum(1, keepdims=True) + counts.sum(0, keepdims=True) - counts
    best = np.divide(counts, union, out=np.zeros_like(counts), where=union > 0).max(1)
    best[counts.sum(1) == 0] = np.nan
    return np.asarray(best)


def refits(numbers: Labels, seed: int) -> list[list[int]]:
    """The entries of each refit: two halves of the files, or all twice where there are fewer than `FEWEST`.

    Args:
        numbers: (N,) file of each entry.
        seed: of the division.
    """
    files = np.unique(numbers)
    if len(files) < FEWEST:
        return [list(range(len(numbers)))] * 2
    first = np.isin(numbers, np.random.default_rng(seed).permutation(files)[: len(files) // 2])
    return [np.flatnonzero(half).tolist() for half in (first, ~first)]


def again(numbers: Labels) -> str:
    """What the refits of these files (N,) see, in words that go on from "come back"."""
    return "in half of the images" if len(np.unique(numbers)) >= FEWEST else "with another seed"


def class_stability(cuts: Cuts, tokens: npt.NDArray[np.float32], numbers: Labels, refit: Refit, seed: int) -> dict[int, Stability]:
    """Stability of each of ``cuts`` that the refits know as well, by its number of classes; empty where no refit can be made.

    Args:
        cuts: of the patches.
        tokens: (n, C) the patches.
        numbers: (N,) file of each entry of the cache.
        refit: makes a new clustering.
        seed: of the halves; refits use others.
    """
    made = [refit(entries, seed + number) for number, entries in enumerate(refits(numbers, seed), start=1)]
    others = [again(tokens) for again in made if again is not None]
    found = {}
    for classes, labels in cuts.items():
        if others and all(classes in other for other in others):
            overlap = np.mean([matched_overlap(labels, other[classes], classes) for other in others], axis=0)
            found[classes] = Stability(labels, overlap, float(np.mean([adjusted_rand_score(labels, other[classes]) for other in others])))
    return found
