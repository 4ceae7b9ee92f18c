"""Fine clusters beneath classes: the cut into the classes gives the classes."""

from __future__ import annotations

import numpy as np
import pytest

from stego_app.clusters import cut
from stego_app.training.fine_clusters import split_classes


@pytest.mark.parametrize("seed", [0, 1])
def test_the_cut_at_the_classes_gives_the_classes(seed: int) -> None:
    random = np.random.default_rng(seed)
    clusters = np.eye(4, 6, dtype=np.float32)
    labels = random.choice(4, 1200, p=[0.5, 0.3, 0.15, 0.05])
    codes = clusters[labels] + random.normal(0, 0.15, (1200, 6)).astype(np.float32)
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    directions, merges = split_classes(codes.astype(np.float32), clusters, 20, seed)
    leaves = len(directions)
    assert 16 <= leaves <= 24
    assert merges.shape == (leaves - 1, 2)
    assert sorted(merges.ravel().tolist()) == list(range(2 * leaves - 2))
    found = cut(merges, 4)[(codes @ directions.T).argmax(axis=1)]
    expected = (codes @ clusters.T).argmax(axis=1)
    table = np.zeros((4, 4), dtype=int)
    np.add.at(table, (found, expected), 1)
    assert table.max(axis=1).sum() / len(codes) > 0.97


def test_a_single_class_and_tiny_classes_keep_their_own_direction() -> None:
    clusters = np.eye(2, 3, dtype=np.float32)
    codes = np.repeat(clusters[:1], 10, axis=0)
    directions, merges = split_classes(codes, clusters, 8, 0)
    assert np.array_equal(directions, clusters)
    assert merges.tolist() == [[0, 1]]
