from __future__ import annotations

import numpy as np
import pytest
from planted_halves import split_of
from sklearn.metrics import adjusted_rand_score

from stego_app.discovery import division
from stego_app.discovery.division import Way, choose_way, divide
from stego_app.discovery.pairs import IMAGE_WEIGHT, Pairs
from stego_app.discovery.spectral import Matrix, cluster_codes, spectral_codes

FIELD = 36
"""Codes of one large thing; `SMALL` more are of a small one."""
SMALL = 8


def field(seed: int, apart: float) -> Matrix:
    """Counts of a large thing in three parts that are drawn anew with each seed, and of a small thing. ``apart``: how much less the parts have in common."""
    random = np.random.default_rng(seed)
    part = random.permutation(np.arange(FIELD) % 3)
    rate = np.full((FIELD + SMALL, FIELD + SMALL), 0.02)
    rate[:FIELD, :FIELD] = np.where(part[:, None] == part[None], 1, 1 - apart)
    rate[FIELD:, FIELD:] = 1
    rate[FIELD:, :FIELD] = rate[:FIELD, FIELD:] = 0.12  # at its borders the small thing is mixed with the large one
    return random.poisson(rate * 60).astype(np.float64)


def pairs_of(counts: Matrix) -> Pairs:
    return split_of(counts, counts).first.pairs


def test_without_more_clusters_it_is_plain_spectral_clustering() -> None:
    pairs = pairs_of(field(0, 0.9))
    eigen = pairs.eigen(IMAGE_WEIGHT)
    direct = cluster_codes(spectral_codes(eigen, 4), eigen.degrees, 4, 7)
    np.testing.assert_array_equal(divide(pairs, 4, Way(4), seed=7), direct)


@pytest.mark.parametrize("begun", [4, 5, 8])
def test_more_clusters_are_joined_whole(begun: int) -> None:
    pairs = pairs_of(field(1, 0.7))
    finer = divide(pairs, begun, Way(begun), seed=0)
    classes = divide(pairs, 3, Way(begun), seed=0)
    assert set(classes.tolist()) == {0, 1, 2}
    for cluster in range(begun):
        assert len(set(classes[finer == cluster].tolist())) == 1


def test_what_covers_most_of_the_images_is_not_divided_where_halves_disagree_on_how() -> None:
    splits = [split_of(field(seed, 0.85), field(seed + 1, 0.85)) for seed in (0, 2, 4)]
    truth = np.arange(FIELD + SMALL) >= FIELD
    way = choose_way(splits, 2, IMAGE_WEIGHT, seed=0)
    assert way.begun > 2
    first = splits[0].first
    assert adjusted_rand_score(truth, divide(first.pairs, 2, way, seed=0)) == 1
    assert adjusted_rand_score(truth, divide(first.pairs, 2, Way(2), seed=0)) < 0.5


def test_where_halves_agree_the_classes_are_found_directly() -> None:
    rate = np.kron(np.eye(4), np.ones((10, 10))) + 0.02
    splits = [split_of(*np.random.default_rng(seed).poisson([rate * 50, rate * 50]).astype(np.float64)) for seed in (0, 1)]
    assert choose_way(splits, 4, IMAGE_WEIGHT, seed=0) == Way(4)
    assert choose_way([], 4, 0.5, seed=0) == Way(4, 0.5)
    assert choose_way(splits, 400, IMAGE_WEIGHT, seed=0) == Way(400)  # refused later, where the user is told


def test_what_halves_agree_on_more_but_not_within_images_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    within = {4: 0.6, 5: 0.59, 6: 0.6, 8: 0.7}
    everywhere = {4: 0.5, 5: 0.9, 6: 0.7, 8: 0.59}
    monkeypatch.setattr(division, "_agreement", lambda _splits, _classes, way, _seed: division._Agreement(everywhere[way.begun], within[way.begun]))
    assert choose_way([], 4, 0.5, seed=0) == Way(6, 0.5)
