"""Correspondence heat against loops over patches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from stego_app.correspondence_view import best_point, cosine_heat, feature_at, heat_colors, heat_picture, mark
from stego_app.patch_features import PatchFeatures, unit_rows


def features(height: int, width: int, seed: int = 0, dim: int = 5) -> PatchFeatures:
    return PatchFeatures(unit_rows(np.random.default_rng(seed).normal(size=(height * width, dim)).astype(np.float32)), (height, width))


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.floats(-0.2, 1.2), st.floats(-0.2, 1.2))
def test_the_feature_at_a_point_is_interpolated(height: int, width: int, x: float, y: float) -> None:
    given_features = features(height, width)
    grid = given_features.values.reshape(height, width, -1)
    # SciPy interpolates between two points at least: a single row or column is repeated.
    grid = np.repeat(grid, 2, 0) if height == 1 else grid
    grid = np.repeat(grid, 2, 1) if width == 1 else grid
    rows = [0.0, 1.0] if height == 1 else [(row + 0.5) / height for row in range(height)]
    columns = [0.0, 1.0] if width == 1 else [(column + 0.5) / width for column in range(width)]
    point = (np.clip(y, rows[0], rows[-1]), np.clip(x, columns[0], columns[-1]))
    expected = RegularGridInterpolator((rows, columns), grid)([point])[0]
    expected = expected / np.linalg.norm(expected)
    np.testing.assert_allclose(feature_at(given_features, x, y), expected, atol=1e-4)


def test_at_a_patch_s_centre_it_is_the_patch_s_own() -> None:
    given_features = features(3, 4)
    np.testing.assert_allclose(feature_at(given_features, 2.5 / 4, 1.5 / 3), given_features.values[1 * 4 + 2], atol=1e-6)


def test_heat_is_the_cosine_with_each_patch() -> None:
    ours, theirs = features(3, 4), features(2, 5, seed=1)
    query = feature_at(ours, 0.3, 0.8)
    heat = cosine_heat(query, theirs)
    assert heat.shape == (2, 5)
    for row in range(2):
        for column in range(5):
            patch = theirs.values[row * 5 + column].astype(np.float64)
            expected = sum(a * b for a, b in zip(patch, query.astype(np.float64), strict=True)) / np.linalg.norm(patch) / np.linalg.norm(query)
            assert heat[row, column] == pytest.approx(expected, abs=1e-5)


def test_a_patch_finds_itself() -> None:
    given_features = features(4, 3)
    centre = (1.5 / 3, 2.5 / 4)
    heat = cosine_heat(feature_at(given_features, *centre), given_features)
    assert heat.max() == pytest.approx(1, abs=1e-6)
    assert best_point(heat) == pytest.approx(centre)


def test_the_picture_glows_where_the_cosine_is_high_only() -> None:
    picture = np.full((40, 80, 3), (200, 100, 50), np.uint8)
    shown = heat_picture(picture, np.array([[-1.0, 1.0]], np.float32))
    cold, hot = shown[20, 2].astype(int), shown[20, -3].astype(int)
    assert np.ptp(cold) == 0  # grey
    assert cold.max() < 100
    assert hot[0] > 180 > hot[2]  # yellow
    np.testing.assert_array_equal(picture, np.full((40, 80, 3), (200, 100, 50), np.uint8))


def test_the_glow_begins_where_it_is_told_to() -> None:
    picture = np.full((8, 8, 3), 200, np.uint8)
    half = np.full((2, 2), 0.5, np.float32)
    assert np.ptp(heat_picture(picture, half, low=0.5), axis=2).max() == 0
    np.testing.assert_array_equal(heat_picture(picture, half, low=0.0), heat_picture(picture, np.full((2, 2), 0.75, np.float32), low=0.5))


def test_colours_grow_lighter() -> None:
    light = heat_colors(np.linspace(0, 1, 256, dtype=np.float32)[None]).astype(int)[0] @ [2126, 7152, 722]
    assert (np.diff(light) > -20_000).all()
    assert light[-1] > 2_000_000 > 50_000 > light[0]


@pytest.mark.parametrize(("x", "y"), [(0.5, 0.5), (0.0, 0.0), (1.0, 1.0)])
def test_marks_are_drawn_on_a_copy(x: float, y: float) -> None:
    picture = np.full((90, 120, 3), 128, np.uint8)
    ring, cross = mark(picture, x, y, cross=False), mark(picture, x, y, cross=True)
    assert (picture == 128).all()
    changed = np.argwhere((ring != 128).any(2))
    assert np.abs(changed - [y * 90, x * 120]).max() <= 10
    assert ring.max() > 220
    assert ring.min() < 40
    assert (cross != ring).any()
