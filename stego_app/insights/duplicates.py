"""Classes that are hardly two, and classes that are hardly one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stego_app.classes import ClassTable, split_in_two
from stego_app.insights.partners import class_affinity

DUPLICATE = 0.5
"""Affinity from which two classes are said to be nearly the same: their patches meet each other at least half as often as
two parts of one class would. See `stego_app.insights.partners.class_affinity`."""
_FEWEST = 50
"""Patches that each part of a class needs before anything is said about it."""

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pair:
    """Two classes and their affinity."""

    first: int
    second: int
    affinity: float


@dataclass(frozen=True)
class Mixed:
    """A class whose two parts (leaves) are less alike (``affinity``) than ``closest``, two classes that are kept apart."""

    label: int
    parts: tuple[tuple[int, ...], tuple[int, ...]]
    affinity: float
    closest: Pair


def closest_pairs(affinity: npt.NDArray[np.float64]) -> list[Pair]:
    """All pairs of classes, most alike first."""
    pairs = [Pair(a, b, float(affinity[a, b])) for a in range(len(affinity)) for b in range(a + 1, len(affinity))]
    return sorted(pairs, key=lambda pair: -pair.affinity)


def merged_groups(pairs: list[Pair], classes: int) -> int:
    """How many classes are left if all near-duplicates are merged."""
    group = list(range(classes))
    for pair in pairs:
        if pair.affinity >= DUPLICATE:
            old, new = group[pair.second], group[pair.first]
            group = [new if number == old else number for number in group]
    return len(set(group))


def find_mixed(table: ClassTable, merges: Labels, leaves: Labels, nearest: Labels, closest: Pair | None) -> list[Mixed]:
    """Classes that should be split before ``closest`` is kept apart, the most different parts first.

    Args:
        table: the classes.
        merges: (F - 1, 2) the tree.
        leaves: (n,) fine cluster of each patch.
        nearest: (n, p) partners of each patch.
        closest: the two most similar classes.
    """
    found = []
    for entry in table.classes if closest else ():
        if len(entry.leaves) < 2:
            continue
        first, second = split_in_two(merges, len(merges) + 1, entry.leaves)
        part = np.full(len(merges) + 1, 2)
        part[list(first)], part[list(second)] = 0, 1
        labels = part[leaves]
        if min((labels == 0).sum(), (labels == 1).sum()) < _FEWEST:
            continue
        value = float(class_affinity(labels, nearest, 3)[0, 1])
        if closest is not None and value < closest.affinity:
            found.append(Mixed(entry.label, (tuple(sorted(first)), tuple(sorted(second))), value, closest))
    return sorted(found, key=lambda mixed: mixed.affinity)
