"""From fine clusters to a confidence for each pixel, against plain loops."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import StegoError
from stego_app.confidence import Agreement, Reliability, agreement_maps, confidence_of, mean_confidence
from stego_app.confidence.maps import IGNORED, SURROUND, raw_scores, surrounding


def table(leaves: int = 4, seed: int = 0) -> npt.NDArray[np.float32]:
    drawn = np.random.default_rng(seed).random((leaves, leaves)).astype(np.float32)
    return np.asarray(drawn / drawn.sum(1, keepdims=True))


def agreement(leaves: int = 4) -> Agreement:
    return Agreement(table(leaves), np.array([0, 0.5, 1], np.float32), np.array([0.1, 0.7, 0.9], np.float32), Reliability(10, 0.5, 0.01))


def fine_maps(height: int = 6, width: int = 9, leaves: int = 4) -> npt.NDArray[np.float32]:
    drawn = np.random.default_rng(3).random((leaves, height, width)).astype(np.float32)
    return np.asarray(drawn / drawn.sum(0))


def test_surrounding_is_the_mean_of_a_square_with_the_border_continued() -> None:
    maps = fine_maps()
    side = round(SURROUND * 6) | 1
    reach = side // 2
    found = surrounding(maps)
    for k, row, column in np.ndindex(maps.shape):
        square = [maps[k, np.clip(row + dy, 0, 5), np.clip(column + dx, 0, 8)] for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
        assert found[k, row, column] == pytest.approx(np.mean(square), abs=1e-5)


def test_raw_scores_by_a_plain_loop() -> None:
    fine, transitions, part = fine_maps(), table(), np.array([0, 1, 1, 2])
    own = np.zeros((3, 6, 9), np.float32)
    for k, row, column in np.ndindex(own.shape):
        own[k, row, column] = sum(fine[f, row, column] * transitions[f, g] for f in range(4) for g in range(4) if part[g] == k)
    np.testing.assert_allclose(own.sum(0), 1, atol=1e-5)
    np.testing.assert_allclose(raw_scores(fine, transitions, part, 3), np.sqrt(own * surrounding(own)), atol=1e-5)


def test_one_patch_is_its_own_surrounding() -> None:
    fine = fine_maps(1, 1)
    np.testing.assert_allclose(surrounding(fine), fine, atol=1e-6)


def test_maps_are_calibrated_and_a_class_without_leaves_gets_the_lowest() -> None:
    maps = agreement_maps(fine_maps(), agreement(), np.array([0, 1, 1, 2]), 4)
    assert maps.shape == (4, 6, 9)
    assert maps[:3].min() >= 0.1
    assert maps.max() <= 0.9
    np.testing.assert_allclose(maps[3], 0.1, atol=1e-6)


def test_one_class_of_everything_is_as_certain_as_the_curve_gets() -> None:
    np.testing.assert_allclose(agreement_maps(fine_maps(), agreement(), np.zeros(4, int), 1), 0.9, atol=1e-5)


def test_confidence_reads_the_row_of_each_label_and_the_last_for_ignored() -> None:
    maps = np.stack([np.full((2, 2), value, np.float32) for value in (0.2, 0.5, 0.8)])
    labels = np.array([[0, 1, IGNORED], [1, 0, IGNORED]], np.uint8)
    np.testing.assert_allclose(confidence_of(labels, maps), np.array([[0.2, 0.5, 0.8], [0.5, 0.2, 0.8]]), atol=1e-6)
    assert mean_confidence(confidence_of(labels, maps), labels) == pytest.approx(0.35)
    assert mean_confidence(np.ones((1, 1), np.float32), np.full((1, 1), IGNORED, np.uint8)) is None


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 40), st.integers(1, 40))
def test_confidence_lies_in_0_to_1_at_any_size(h: int, w: int, height: int, width: int) -> None:
    random = np.random.default_rng(h * w)
    labels = random.choice(np.array([0, 1, 2, IGNORED], np.uint8), (height, width))
    found = confidence_of(labels, random.random((4, h, w)).astype(np.float32))
    assert found.shape == labels.shape
    assert found.min() >= 0
    assert found.max() <= 1


def test_calibration_is_linear_between_knots_and_level_outside() -> None:
    curve = Agreement(table(), np.array([0.2, 0.6], np.float32), np.array([0.5, 0.9], np.float32), Reliability(1, 0.5, 0))
    np.testing.assert_allclose(curve.calibrated(np.array([0.0, 0.4, 1.0], np.float32)), [0.5, 0.7, 0.9], atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"transitions": np.ones((4, 4), np.float32)},
        {"transitions": np.full((4, 4), np.nan, np.float32)},
        {"transitions": np.ones((4, 1), np.float32)},
        {"scores": np.array([0.5, 0.5, 1], np.float32)},
        {"rates": np.array([0.9, 0.5, 1], np.float32)},
        {"rates": np.array([0.1, 0.5, np.nan], np.float32)},
        {"rates": np.array([0.1, 0.5], np.float32)},
        {"rates": np.array([0.1, 0.5, 1.5], np.float32)},
    ],
)
def test_arrays_that_are_no_table_of_agreement_are_refused(changes: dict[str, npt.NDArray[np.float32]]) -> None:
    good = agreement()
    with pytest.raises(StegoError, match="table of agreement"):
        Agreement.from_arrays(good.to_arrays() | changes, good.header())


def test_written_and_read_back() -> None:
    good = agreement()
    again = Agreement.from_arrays(good.to_arrays(), good.header())
    assert again.reliability == good.reliability
    assert np.array_equal(again.transitions, good.transitions)
