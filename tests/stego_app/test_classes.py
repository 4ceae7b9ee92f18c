"""Classes from a tree and edits: nested, stable labels and colours, edits that survive a change of granularity."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from models.errors import StegoError
from stego_app.classes import IGNORED, class_table, cut, leaf_order, split_in_two
from stego_app.edits import Edit, Ignore, Merge, Recolour, Rename, Split


def tree(leaves: int, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    joined = linkage(rng.normal(size=(leaves, 3)), "average")
    shares = rng.dirichlet(np.ones(leaves))
    return joined[:, :2].astype(np.int64), shares, joined


sizes = st.integers(min_value=2, max_value=24)
seeds = st.integers(min_value=0, max_value=10_000)


@given(sizes, seeds, st.data())
@settings(max_examples=60, deadline=None)
def test_cut_equals_scipys(leaves: int, seed: int, data: st.DataObject) -> None:
    merges, _, joined = tree(leaves, seed)
    classes = data.draw(st.integers(1, leaves))
    expected = fcluster(joined, classes, "maxclust")
    parts = cut(merges, leaves, classes)
    assert {frozenset(np.flatnonzero(expected == label).tolist()) for label in np.unique(expected)} == set(parts)


@given(sizes, seeds)
@settings(max_examples=60, deadline=None)
def test_a_class_keeps_label_and_colour_when_others_are_split(leaves: int, seed: int) -> None:
    merges, shares, _ = tree(leaves, seed)
    for classes in range(1, leaves):
        coarse, fine = class_table(merges, shares, (), classes), class_table(merges, shares, (), classes + 1)
        assert len(coarse.classes) == classes
        unchanged = [(a, b) for a in coarse.classes for b in fine.classes if a.leaves == b.leaves]
        assert len(unchanged) == classes - 1
        assert all(a.label == b.label and a.color == b.color for a, b in unchanged)


@given(sizes, seeds)
@settings(max_examples=40, deadline=None)
def test_ranks_are_a_permutation_led_by_the_largest_leaf(leaves: int, seed: int) -> None:
    merges, shares, _ = tree(leaves, seed)
    rank = leaf_order(merges, shares)
    assert sorted(rank.tolist()) == list(range(leaves))
    assert rank[int(np.argmax(shares))] == 0


@given(sizes, seeds, st.data())
@settings(max_examples=100, deadline=None)
def test_every_leaf_has_exactly_one_class_whatever_the_edits(leaves: int, seed: int, data: st.DataObject) -> None:
    merges, shares, _ = tree(leaves, seed)
    some = st.lists(st.integers(0, leaves - 1), min_size=2, unique=True).map(tuple)
    edit = st.one_of(
        some.map(Merge),
        some.map(Ignore),
        some.map(lambda group: Split((group[:1], group[1:]))),
        some.map(lambda group: Rename(group, "thing")),
        some.map(lambda group: Recolour(group, (1, 2, 3))),
    )
    edits: list[Edit] = data.draw(st.lists(edit, max_size=6))
    table = class_table(merges, shares, edits, data.draw(st.integers(1, leaves)))
    for leaf, label in enumerate(table.leaf_to_label):
        holders = [entry.label for entry in table.classes if leaf in entry.leaves]
        assert holders == ([] if label == IGNORED else [label])
    assert [entry.label for entry in table.classes] == list(range(len(table.classes)))


def test_a_merge_holds_at_every_granularity() -> None:
    merges, shares, _ = tree(12, 3)
    table = class_table(merges, shares, (), 6)
    wanted = (*table.classes[1].leaves, *table.classes[4].leaves)
    for classes in range(1, 13):
        shown = {entry.leaves for entry in class_table(merges, shares, (Merge(wanted),), classes).classes}
        assert tuple(sorted(wanted)) in shown


def test_a_name_is_inherited_by_finer_classes_and_listed_by_coarser_ones() -> None:
    merges, shares, _ = tree(12, 5)
    entry = max(class_table(merges, shares, (), 4).classes, key=lambda item: len(item.leaves))
    edits = (Rename(entry.leaves, "road"),)
    assert class_table(merges, shares, edits, 4).classes[entry.label].name == "road"
    finest = class_table(merges, shares, edits, 12)
    assert {item.name for item in finest.classes if item.leaves[0] in entry.leaves} == {f"road {i + 1}" for i in range(len(entry.leaves))}
    assert class_table(merges, shares, edits, 1).names == ["road"]


def test_ignored_leaves_carry_255_and_later_edits_bring_them_back() -> None:
    merges, shares, _ = tree(8, 1)
    entry = class_table(merges, shares, (), 4).classes[2]
    ignored = class_table(merges, shares, (Ignore(entry.leaves),), 4)
    assert set(ignored.leaf_to_label[list(entry.leaves)]) == {IGNORED}
    assert len(ignored.classes) == 3
    back = class_table(merges, shares, (Ignore(entry.leaves), Merge(entry.leaves)), 4)
    assert IGNORED not in back.leaf_to_label


def test_split_in_two_follows_the_tree() -> None:
    merges, shares, _ = tree(10, 2)
    whole = class_table(merges, shares, (), 1).classes[0].leaves
    parts = split_in_two(merges, 10, whole)
    assert set(parts) == set(cut(merges, 10, 2))
    with pytest.raises(StegoError, match="single fine cluster"):
        split_in_two(merges, 10, [3])
