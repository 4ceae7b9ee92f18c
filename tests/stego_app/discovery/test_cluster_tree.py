from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cut_tree, linkage

from stego_app.clusters import cut
from stego_app.discovery.tree import build_tree, fine_clusters


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 30), st.integers(0, 10_000), st.data())
def test_cut_at_the_classes_gives_exactly_the_classes(codes: int, seed: int, data: st.DataObject) -> None:
    random = np.random.default_rng(seed)
    classes = data.draw(st.integers(1, codes))
    fine = data.draw(st.integers(classes, codes))
    labels = random.permutation(np.concatenate([np.arange(classes), random.integers(classes, size=codes - classes)]))
    joint = random.random((codes, codes)) + 0.01
    tree = build_tree(random.normal(size=(codes, 3)), (joint + joint.T) / (joint + joint.T).sum(), labels, fine)
    assert tree.merges.shape == (fine - 1, 2)
    assert sorted(set(tree.leaf_of_code)) == list(range(fine))
    assert sorted(tree.merges.ravel()) == list(range(2 * fine - 2))  # every node but the root is merged once
    found = cut(tree.merges, classes)[tree.leaf_of_code]
    assert len(set(zip(found, labels, strict=True))) == classes  # the same partition of codes


def test_inside_a_class_near_codes_are_joined_first() -> None:
    points = np.array([[0.0], [0.1], [5.0], [5.1], [9.0], [9.1]])
    labels = np.array([0, 0, 0, 0, 1, 1])
    tree = build_tree(points, np.full((6, 6), 1 / 36), labels, 3)
    assert tree.leaf_of_code.tolist() == [0, 0, 1, 1, 2, 2]
    assert sorted(tree.merges[0]) == [0, 1]
    assert sorted(tree.merges[1]) == [2, 3]


def test_classes_that_correspond_most_are_joined_first() -> None:
    joint = np.full((3, 3), 0.01) + np.diag([1.0, 1.0, 1.0])
    joint[0, 2] = joint[2, 0] = 0.3
    tree = build_tree(np.eye(3), joint / joint.sum(), np.arange(3), 3)
    assert [sorted(pair) for pair in tree.merges.tolist()] == [[0, 2], [1, 3]]


def test_fine_clusters_with_equal_weights_match_scipys_ward() -> None:
    points = np.random.default_rng(0).normal(size=(20, 3))
    expected = linkage(points, "ward")
    for fine in range(1, 21):
        ours = fine_clusters(points, np.full(20, 0.05), np.zeros(20, np.int64), fine)
        theirs = cut_tree(expected, fine).ravel()
        assert len(set(zip(ours, theirs, strict=True))) == fine


def test_a_heavy_point_counts_as_many() -> None:
    random = np.random.default_rng(1)
    points, weights = random.normal(size=(8, 2)), np.array([1, 3, 1, 1, 2, 1, 1, 1])
    repeated = np.repeat(np.arange(8), weights)
    together = fine_clusters(points, weights.astype(np.float64), np.zeros(8, np.int64), 3)
    apart = cut_tree(linkage(points[repeated], "ward"), 3).ravel()
    assert len(set(zip(together[repeated], apart, strict=True))) == 3
