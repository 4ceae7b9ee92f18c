"""The lattice filter against the definition of a Gaussian filter, and its invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stego_app.crf.lattice import _enclosing_simplex, build_lattice, elevate


def brute_force(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sum over all pairs of points of exp(-|f_i - f_j|² / 2) values_j."""
    distance = ((features[:, :, None] - features[:, None, :]) ** 2).sum(axis=0)
    return np.exp(-distance / 2) @ values


@pytest.mark.parametrize("dimensions", [2, 3, 5])
def test_close_to_the_brute_force_gaussian(dimensions: int) -> None:
    random = np.random.default_rng(dimensions)
    features = random.uniform(0, 2.0, (dimensions, 1500)).astype(np.float32)
    values = np.stack([features[0] > 1, np.sin(2 * features[1]) + 1], axis=1).astype(np.float32)
    exact = brute_force(features, values) / brute_force(features, np.ones((1500, 1)))
    lattice = build_lattice(features)
    ours = lattice.apply(values) / lattice.apply(np.ones((1500, 1), dtype=np.float32))
    assert np.abs(ours - exact).mean() < 0.05
    assert np.corrcoef(ours.ravel(), exact.ravel())[0, 1] > 0.99


def test_points_that_are_far_apart_do_not_mix() -> None:
    features = np.array([[0, 0.1, 60.0, 60.1], [0, 0, 60, 60]], dtype=np.float32)
    filtered = build_lattice(features).apply(np.array([[1], [1], [0], [0]], dtype=np.float32))
    assert filtered[:2].min() > 0.5
    assert filtered[2:].max() == 0


def test_slicing_weights_are_barycentric() -> None:
    features = np.random.default_rng(0).normal(0, 30, (5, 4000)).astype(np.float32)
    elevated = elevate(features)
    corner, rank, weights = _enclosing_simplex(elevated)
    assert (corner.sum(axis=0) == 0).all()
    assert (np.sort(rank, axis=0) == np.arange(6)[:, None]).all()
    assert weights.min() > -1e-4
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-4)
    # The weighted vertices are the point itself (Adams et al. 2010, equation 6).
    canonical = np.array([[k if r <= 5 - k else k - 6 for r in range(6)] for k in range(6)])
    vertices = corner[None] + canonical[:, rank]
    np.testing.assert_allclose((vertices * weights[:, None]).sum(axis=0), elevated, atol=2e-3)


def test_elevation_keeps_distances_up_to_scale() -> None:
    features = np.random.default_rng(1).normal(size=(4, 30)).astype(np.float32)
    elevated = elevate(features)
    flat = np.linalg.norm(features[:, :, None] - features[:, None], axis=0)
    lifted = np.linalg.norm(elevated[:, :, None] - elevated[:, None], axis=0)
    np.testing.assert_allclose(lifted, flat * np.sqrt(2 / 3) * 5, atol=1e-4)


def test_normalised_filter_is_symmetric_scaling() -> None:
    features = np.random.default_rng(2).uniform(0, 3, (3, 200)).astype(np.float32)
    lattice = build_lattice(features)
    plain = lattice.apply(np.eye(200, dtype=np.float32))
    scale = 1 / np.sqrt(plain.sum(axis=1))
    np.testing.assert_allclose(lattice.normalised().apply(np.eye(200, dtype=np.float32)), scale[:, None] * plain * scale, atol=1e-5)


def test_blurs_are_symmetric() -> None:
    lattice = build_lattice(np.random.default_rng(3).uniform(0, 4, (5, 300)).astype(np.float32))
    assert len(lattice.blurs) == 6
    assert all(abs(blur - blur.T).max() == 0 for blur in lattice.blurs)
    assert all(blur.nnz > blur.shape[0] for blur in lattice.blurs)


def test_refuses_points_too_far_apart_to_be_told_by_an_integer() -> None:
    with pytest.raises(ValueError, match="larger standard deviations"):
        build_lattice(np.array([[0, 1e6]] * 5, dtype=np.float32))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.floats(0.1, 50), st.integers(0, 10_000))
def test_filter_is_linear_and_positive(points: int, dimensions: int, spread: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    lattice = build_lattice((random.normal(0, spread, (dimensions, points))).astype(np.float32))
    first, second = random.random((2, points, 3)).astype(np.float32)
    both = lattice.apply(first + 2 * second)
    np.testing.assert_allclose(both, lattice.apply(first) + 2 * lattice.apply(second), rtol=1e-3, atol=1e-4)
    assert lattice.apply(first).min() >= -1e-4
