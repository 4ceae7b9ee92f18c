"""Shifts from the data: the quantile rule, checked on features whose classes are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.correspondence import PairTerms
from models.errors import StegoError
from stego_app.features.neighbours import nearest_images
from stego_app.training.calibration import KINDS, agreement_probability, choose_shifts, cluster_masses, pair_similarities
from stego_app.training.shifts import DEFAULT_WEIGHTS, PUBLISHED, check_shifts

OPTIONS = {"points": 36, "batch": 6, "seed": 0}


def test_published_values_in_the_order_self_neighbour_random() -> None:
    assert PUBLISHED["cocostuff"].shift == PairTerms(self_pairs=0.12, neighbour_pairs=0.20, random_pairs=1.0)
    assert PUBLISHED["cocostuff"].weight == PairTerms(self_pairs=0.10, neighbour_pairs=1.0, random_pairs=0.15)
    assert PUBLISHED["cocostuff-s"].shift == PairTerms(self_pairs=0.08, neighbour_pairs=0.02, random_pairs=0.66)
    assert PUBLISHED["cityscapes"].weight == PairTerms(self_pairs=1.0, neighbour_pairs=0.577, random_pairs=0.906)
    assert PUBLISHED["potsdam"].weight == PUBLISHED["default"].weight == DEFAULT_WEIGHTS == PairTerms(0.67, 0.25, 0.63)


def test_unknown_name() -> None:
    with pytest.raises(StegoError, match=r"shifts 'ade20k': expected quantile or a published set \(cocostuff-s, cocostuff"):
        check_shifts("ade20k")


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=30))
def test_agreement_is_at_least_that_of_equal_clusters(sizes: list[float]) -> None:
    masses = np.array(sizes)
    assert 1 / len(sizes) - 1e-9 <= agreement_probability(masses) <= 1 + 1e-9
    draws = np.random.default_rng(0).choice(len(sizes), size=(20_000, 2), p=masses / masses.sum())
    assert agreement_probability(masses) == pytest.approx((draws[:, 0] == draws[:, 1]).mean(), abs=0.03)


def test_masses_are_those_of_the_classes(clustered_cache: Callable[..., Any]) -> None:
    cache, truth = clustered_cache(images=20)
    tokens, _ = cache.sample(10**6, seed=0)
    masses = cluster_masses(tokens, 3, seed=0)
    expected = np.bincount(np.concatenate([label.reshape(-1) for label in truth])) / len(tokens)
    np.testing.assert_allclose(np.sort(masses), np.sort(expected), atol=0.01)
    with pytest.raises(StegoError, match="5 clusters from 4 patches"):
        cluster_masses(tokens[:4], 5, seed=0)


def test_quantile_shifts_cut_off_the_expected_share_of_pairs(clustered_cache: Callable[..., Any]) -> None:
    cache, _ = clustered_cache(images=20)
    neighbours = nearest_images(cache.pooled, 7)
    shifts, histograms = choose_shifts("quantile", cache, neighbours, 3, **OPTIONS)
    assert histograms.source == "quantile"
    assert shifts.weight == DEFAULT_WEIGHTS
    similarities = pair_similarities(cache, neighbours, 36, 6, 0)
    for kind, shift in zip(KINDS, (shifts.shift.self_pairs, shifts.shift.neighbour_pairs, shifts.shift.random_pairs), strict=True):
        assert histograms.shifts[kind] == shift
        assert histograms.above[kind] == pytest.approx(histograms.agreement, abs=1e-3)
        assert (similarities[kind].numpy() > shift).mean() == pytest.approx(histograms.agreement, abs=1e-3)
        assert (histograms.densities[kind] * np.diff(histograms.edges)).sum() == pytest.approx(1)


def test_published_shifts_come_with_the_same_histograms(clustered_cache: Callable[..., Any]) -> None:
    cache, _ = clustered_cache()
    neighbours = nearest_images(cache.pooled, 7)
    shifts, published = choose_shifts("potsdam", cache, neighbours, 3, **OPTIONS)
    _, calibrated = choose_shifts("quantile", cache, neighbours, 3, **OPTIONS)
    assert shifts is PUBLISHED["potsdam"]
    assert published.shifts == {"self": 0.08, "neighbour": 0.02, "random": 0.46}
    for kind in KINDS:
        np.testing.assert_array_equal(published.densities[kind], calibrated.densities[kind])


def test_two_images_are_enough(clustered_cache: Callable[..., Any]) -> None:
    cache, _ = clustered_cache(images=2)
    _, histograms = choose_shifts("quantile", cache, nearest_images(cache.pooled, 1), 3, **OPTIONS)
    assert all(np.isfinite(value) for value in histograms.shifts.values())
