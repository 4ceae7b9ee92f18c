"""Class colours: deterministic, a prefix of each other, and well apart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from stego_app.palette import oklab, palette


def test_a_class_keeps_its_colour_when_there_are_more() -> None:
    np.testing.assert_array_equal(palette(255)[:20], palette(20))
    assert palette(0).shape == (0, 3)
    assert palette(300).shape == (300, 3)


def test_colours_are_all_different_and_the_first_ones_far_apart() -> None:
    assert len(np.unique(palette(255), axis=0)) == 255
    assert pdist(oklab(palette(12))).min() > 0.15
    assert pdist(oklab(palette(27))).min() > 0.08


def test_colours_are_neither_black_white_nor_grey() -> None:
    lab = oklab(palette(255))
    assert lab[:, 0].min() > 0.4
    assert lab[:, 0].max() < 0.95
    assert np.hypot(lab[:, 1], lab[:, 2]).min() > 0.09


def test_oklab_equals_published_values() -> None:
    # Ottosson 2020: white is (1, 0, 0); pure red about (0.628, 0.225, 0.126).
    np.testing.assert_allclose(oklab(np.array([[255.0, 255, 255], [255, 0, 0]])), [[1, 0, 0], [0.628, 0.225, 0.126]], atol=1e-3)


def test_refuses_a_negative_number() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        palette(-1)
