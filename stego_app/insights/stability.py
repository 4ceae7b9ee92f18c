"""Whether classes come back when they are looked for again with half of the images.

Hennig, "Cluster-wise assessment of cluster stability", Computational Statistics & Data Analysis 52, 2007: cluster again
after taking part of the data away, and compare each cluster with the most similar one of the new clustering by the Jaccard
coefficient. His rules for reading it are taken over: 0.75 or more is a stable cluster; under 0.6 it should not be trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

STABLE = 0.75
DOUBTFUL = 0.6

Labels = npt.NDArray[np.int64]
Refit = Callable[[Sequence[int], int], Callable[[npt.NDArray[np.float32]], Labels] | None]
"""Entries of the cache and a seed to a new clustering of them, which labels patches (n, C); None where none can be made."""

FEWEST = 8
"""Images from which halves of them are used; with fewer, another seed on all of them."""


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


def class_stability(labels: Labels, tokens: npt.NDArray[np.float32], classes: int, numbers: Labels, refit: Refit, seed: int) -> npt.NDArray[np.float64] | None:
    """Mean matched overlap (K,) of each class over the refits; None where no refit can be made.

    Args:
        labels: (n,) class of each patch.
        tokens: (n, C) the patches.
        classes: K.
        numbers: (N,) file of each entry of the cache.
        refit: makes a new clustering.
        seed: of the halves; refits use others.
    """
    overlaps = []
    for number, entries in enumerate(refits(numbers, seed), start=1):
        again = refit(entries, seed + number)
        if again is not None:
            overlaps.append(matched_overlap(labels, again(tokens), classes))
    return np.mean(overlaps, axis=0) if overlaps else None
