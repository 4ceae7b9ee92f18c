"""From fine clusters to the classes a person sees: a cut of the tree, then the person's own edits in order.

A *leaf* is a fine cluster (0 to F-1). The tree merges leaves; its cut into K parts gives K classes. Edits (merge,
split, ignore) pin a set of leaves as a class of its own at every granularity; rename and recolour attach to a set of
leaves and are inherited by finer classes inside it. Edits refer to leaves, not to labels, so they keep their meaning
when the number of classes changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.edits import Edit, Ignore, Merge, Recolour, Rename, Split
from stego_app.palette import palette

IGNORED = 255
"""The label of pixels whose class is ignored; also void in every label file."""


class ClassEditError(StegoError):
    """An edit that names a class that does not exist or cannot be carried out."""


@dataclass(frozen=True)
class SegmentClass:
    """One class as shown: its label in files, name, colour, the leaves it is made of, and its share of training patches."""

    label: int
    name: str
    color: tuple[int, int, int]
    leaves: tuple[int, ...]
    share: float


@dataclass(frozen=True)
class ClassTable:
    """The classes at one granularity. ``leaf_to_label`` (F,) holds a label for each leaf, or `IGNORED`."""

    classes: tuple[SegmentClass, ...]
    leaf_to_label: npt.NDArray[np.int64]

    @property
    def names(self) -> list[str]:
        """Names in the order of labels."""
        return [entry.name for entry in self.classes]

    @property
    def palette(self) -> npt.NDArray[np.uint8]:
        """Colours (K, 3) in the order of labels."""
        return np.array([entry.color for entry in self.classes], dtype=np.uint8).reshape(-1, 3)

    def leaves_of(self, label: int) -> tuple[int, ...]:
        """The leaves of the class with this label.

        Raises:
            ClassEditError: there is no such label at this granularity.
        """
        if not 0 <= label < len(self.classes):
            raise ClassEditError(f"class {label} does not exist; expected 0 to {len(self.classes) - 1}")
        return self.classes[label].leaves


def leaf_order(merges: npt.NDArray[np.int64], shares: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Rank (F,) of each leaf: the order in which classes appear as the tree is cut finer and finer.

    A class is represented by its largest leaf. Cutting one part into two leaves the representative of the larger side
    as it is and adds one, which takes the next rank. So a cut into K classes uses exactly the ranks 0 to K-1, and a
    class keeps its label and colour when others are split.
    """
    count = len(shares)
    representative = list(range(count)) + [-1] * len(merges)
    for row, (a, b) in enumerate(merges):
        left, right = representative[a], representative[b]
        representative[count + row] = left if shares[left] >= shares[right] else right
    rank = np.full(count, -1, dtype=np.int64)
    rank[representative[-1]] = 0
    following = 1
    for row in range(len(merges) - 1, -1, -1):
        kept = representative[count + row]
        added = next(leaf for node in merges[row] if (leaf := representative[node]) != kept)
        rank[added] = following
        following += 1
    return rank


def cut(merges: npt.NDArray[np.int64], leaves: int, classes: int) -> list[frozenset[int]]:
    """Parts of the tree cut into ``classes`` parts, as sets of leaves; clipped to between 1 and ``leaves`` parts."""
    parts: dict[int, frozenset[int]] = {leaf: frozenset([leaf]) for leaf in range(leaves)}
    for row in range(max(0, leaves - max(1, classes))):
        a, b = (int(node) for node in merges[row])
        parts[leaves + row] = parts.pop(a) | parts.pop(b)
    return list(parts.values())


def split_in_two(merges: npt.NDArray[np.int64], count: int, leaves: Iterable[int]) -> tuple[frozenset[int], frozenset[int]]:
    """The two parts into which the tree, restricted to ``leaves``, falls last.

    Raises:
        ClassEditError: a single fine cluster cannot be split further.
    """
    wanted = frozenset(leaves)
    if len(wanted) < 2:
        raise ClassEditError("this class is a single fine cluster and cannot be split further; train with more fine clusters")
    nodes: dict[int, frozenset[int]] = {leaf: frozenset([leaf]) & wanted for leaf in range(count)}
    last: tuple[frozenset[int], frozenset[int]] | None = None
    for row, (a, b) in enumerate(merges):
        left, right = nodes[int(a)], nodes[int(b)]
        nodes[count + row] = left | right
        if left and right:
            last = (left, right)
    assert last is not None  # two or more leaves always meet at the root
    return last


def class_table(merges: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], edits: Sequence[Edit], classes: int) -> ClassTable:
    """The classes shown when the tree is cut into ``classes`` and ``edits`` are applied in order.

    Args:
        merges: (F-1, 2) nodes joined, in SciPy's numbering (row i makes node F + i).
        shares: (F,) share of training patches of each leaf.
        edits: in the order in which they were made; later ones win where they touch the same leaves.
        classes: number of parts of the cut, 1 to F.
    """
    groups = cut(merges, len(shares), classes)
    ignored: frozenset[int] = frozenset()
    for edit in edits:
        for pinned in _pinned(edit):
            groups = [rest for group in groups if (rest := group - pinned)] + [pinned]
            ignored = ignored - pinned
        if isinstance(edit, Ignore):
            ignored = ignored | frozenset(edit.leaves)
    groups = [rest for group in groups if (rest := group - ignored)]

    rank = leaf_order(merges, shares)
    first = [min(group, key=lambda leaf: (-shares[leaf], rank[leaf])) for group in groups]
    order = sorted(range(len(groups)), key=lambda index: rank[first[index]])
    names = _names([groups[index] for index in order], edits)
    colors = palette(len(shares))
    table: list[SegmentClass] = []
    mapping = np.full(len(shares), IGNORED, dtype=np.int64)
    for label, index in enumerate(order):
        group = groups[index]
        leaves = tuple(sorted(group))
        mapping[list(leaves)] = label
        color = _color(group, edits) or tuple(int(value) for value in colors[rank[first[index]]])
        table.append(SegmentClass(label, names[label], (color[0], color[1], color[2]), leaves, float(shares[list(leaves)].sum())))
    return ClassTable(tuple(table), mapping)


def _pinned(edit: Edit) -> list[frozenset[int]]:
    """The sets of leaves that an edit makes classes of their own."""
    if isinstance(edit, Merge):
        return [frozenset(edit.leaves)]
    if isinstance(edit, Split):
        return [frozenset(part) for part in edit.parts]
    if isinstance(edit, Ignore):
        return [frozenset(edit.leaves)]
    return []


def _names(groups: list[frozenset[int]], edits: Sequence[Edit]) -> list[str]:
    """A name for each group: its own, else the one of the smallest named set around it, else those inside it."""
    renames = {frozenset(edit.leaves): edit.name for edit in edits if isinstance(edit, Rename)}
    names: list[str] = []
    inherited: dict[str, int] = {}
    for label, group in enumerate(groups):
        around = sorted((named for named in renames if group < named), key=len)
        inside = [name for named, name in renames.items() if named < group]
        if group in renames:
            names.append(renames[group])
        elif around:
            name = renames[around[0]]
            inherited[name] = inherited.get(name, 0) + 1
            names.append(f"{name} {inherited[name]}")
        elif inside:
            names.append(" + ".join(dict.fromkeys(inside)))
        else:
            names.append(f"class {label}")
    return names


def _color(group: frozenset[int], edits: Sequence[Edit]) -> tuple[int, ...] | None:
    """The colour a person gave to exactly this group, if any."""
    return next((edit.color for edit in reversed(edits) if isinstance(edit, Recolour) and frozenset(edit.leaves) == group), None)
