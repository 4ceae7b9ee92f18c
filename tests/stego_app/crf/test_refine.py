"""The front door of the CRF: absent classes, scaling with image size, and errors."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models.errors import StegoError
from stego_app.crf import CrfSettings, available_engines, refine

IMAGE = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)


def random_probabilities(classes: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(classes), (height, width)).transpose(2, 0, 1).astype(np.float32)


def test_absent_classes_are_dropped_and_change_nothing() -> None:
    probabilities = random_probabilities(3, 30, 40)
    with_absent = np.insert(probabilities, [1, 3], np.float32(0), axis=0)
    refined = refine(IMAGE, with_absent)
    assert refined.shape == (5, 30, 40)
    assert refined[1].max() == refined[4].max() == 0
    np.testing.assert_array_equal(refined[[0, 2, 3]], refine(IMAGE, probabilities))


def test_a_single_class_wins_everywhere() -> None:
    probabilities = np.zeros((4, 30, 40), dtype=np.float32)
    probabilities[2] = 1
    np.testing.assert_array_equal(refine(IMAGE, probabilities), probabilities)


def test_many_equally_faint_classes_are_not_all_dropped() -> None:
    refined = refine(IMAGE, np.full((80, 30, 40), 1 / 80, dtype=np.float32))
    np.testing.assert_allclose(refined.sum(axis=0), 1, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 25), st.integers(1, 25), st.integers(0, 999))
def test_gives_probabilities_for_any_shape(classes: int, height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    refined = refine(image, random_probabilities(classes, height, width, seed))
    assert refined.shape == (classes, height, width)
    assert refined.dtype == np.float32
    assert refined.min() >= 0
    np.testing.assert_allclose(refined.sum(axis=0), 1, atol=1e-4)


def test_lengths_scale_with_the_image() -> None:
    options = CrfSettings()
    small, large = options.kernels(320, 500), options.kernels(640, 1000)
    assert small.bilateral_sigma_xy == 67
    assert large.bilateral_sigma_xy == 2 * small.bilateral_sigma_xy
    assert large.spatial_sigma == 2 * small.spatial_sigma
    assert large.bilateral_sigma_rgb == small.bilateral_sigma_rgb
    assert options.kernels(32, 32).spatial_sigma == 1
    assert CrfSettings(spatial_sigma=0.5).kernels(32, 32).spatial_sigma == 0.5


def test_large_images_are_worked_on_reduced() -> None:
    options = CrfSettings(max_side=400)
    assert options.working_size(3000, 4000) == (300, 400)
    assert options.working_size(200, 300) == (200, 300)
    assert options.working_size(1, 10_000) == (1, 400)


@pytest.mark.parametrize("field", ["iterations", "spatial_sigma", "bilateral_sigma_rgb", "spatial_weight", "max_side"])
def test_settings_refuse_negative_values(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        CrfSettings(**{field: -1})


def test_engine_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(StegoError, match=r"stego-app\[crf\]"):
        refine(IMAGE, random_probabilities(2, 30, 40), engine="pydensecrf")


def test_available_engines_always_hold_ours() -> None:
    assert {"auto", "mean-field"} <= set(available_engines())


def test_auto_is_ours() -> None:
    probabilities = random_probabilities(3, 30, 40)
    np.testing.assert_array_equal(refine(IMAGE, probabilities, engine="auto"), refine(IMAGE, probabilities, engine="mean-field"))


@pytest.mark.parametrize(
    ("image", "probabilities", "engine", "message"),
    [
        (IMAGE, random_probabilities(2, 30, 40), "simple", "auto, mean-field, torch, pydensecrf"),
        (IMAGE, random_probabilities(2, 30, 41), "auto", r"\(classes, height, width\)"),
        (IMAGE[..., 0], random_probabilities(2, 30, 40), "auto", r"\(height, width, 3\)"),
        (IMAGE.astype(np.float32), random_probabilities(2, 30, 40), "auto", "uint8"),
        (IMAGE, np.full((2, 30, 40), np.nan, dtype=np.float32), "auto", "finite"),
    ],
)
def test_bad_input_gets_one_line(image: np.ndarray, probabilities: np.ndarray, engine: str, message: str) -> None:
    with pytest.raises(StegoError, match=message) as caught:
        refine(image, probabilities, engine=engine)
    assert "\n" not in str(caught.value)
