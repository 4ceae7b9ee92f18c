"""Confidence against errors, against scikit-learn and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from stego_app.confidence.calibration import steps_of
from stego_app.evaluation.error_prediction import BINS, COVERAGES, accumulate_by_confidence, accuracy_at, auroc, error_prediction
from stego_app.evaluation.histogram import VOID, accumulate
from stego_app.evaluation.matching import hungarian


def drawn(seed: int = 0, count: int = 3_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    confidence = random.random(count)
    predicted = np.where(random.random(count) < confidence, labels, random.integers(0, 4, count))
    labels[:50] = VOID
    return predicted, labels, confidence


def test_counts_add_up_to_the_plain_histogram() -> None:
    predicted, labels, confidence = drawn()
    counts = accumulate_by_confidence(predicted, labels, confidence, 4, 3)
    assert np.array_equal(counts.sum(2), accumulate(predicted, labels, 4, 3))
    assert counts[2, 1, 17] == ((predicted == 2) & (labels == 1) & (steps_of(confidence, BINS) == 17)).sum()


@pytest.mark.parametrize("seed", [0, 1])
def test_auroc_is_scikit_learns(seed: int) -> None:
    predicted, labels, confidence = drawn(seed)
    counts = accumulate_by_confidence(predicted, labels, confidence, 4, 3)
    matching = hungarian(counts.sum(2))
    kept = labels != VOID
    right = matching[predicted[kept]] == labels[kept]
    found = error_prediction(counts, matching)
    assert found.auroc == pytest.approx(roc_auc_score(right, steps_of(confidence[kept], BINS)), abs=1e-9)
    assert found.confidence == pytest.approx(confidence[kept].mean(), abs=0.01)


def test_accuracy_against_coverage_by_sorting() -> None:
    predicted, labels, confidence = drawn()
    counts = accumulate_by_confidence(predicted, labels, confidence, 4, 3)
    matching = hungarian(counts.sum(2))
    kept = labels != VOID
    right = (matching[predicted[kept]] == labels[kept])[np.argsort(-confidence[kept])]
    for share, accuracy in error_prediction(counts, matching).coverage:
        assert accuracy == pytest.approx(100 * right[: round(share * len(right))].mean(), abs=1.0)


def test_a_cluster_without_a_class_is_always_wrong() -> None:
    counts = np.zeros((2, 1, 4), np.int64)
    counts[0, 0, 3], counts[1, 0, 0] = 6, 2
    found = error_prediction(counts, np.array([0, -1]))
    assert found.auroc == 1
    assert dict(found.coverage)[1.0] == pytest.approx(75)
    assert dict(found.coverage)[0.5] == pytest.approx(100)


def test_calibration_error_of_what_is_always_right_and_never_sure() -> None:
    counts = np.zeros((1, 1, 100), np.int64)
    counts[0, 0, 25] = 10
    assert error_prediction(counts, np.array([0])).calibration_error == pytest.approx(1 - 0.255)


def test_one_kind_alone_has_no_auroc() -> None:
    some = np.array([1, 2])
    assert auroc(some, np.zeros(2, np.int64)) is None
    assert auroc(np.zeros(2, np.int64), some) is None
    nothing = error_prediction(np.zeros((2, 2, 5), np.int64), np.array([0, 1]))
    assert nothing.auroc is None
    assert all(accuracy == 0 for _, accuracy in nothing.coverage)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_auroc_turns_around_with_confidence(bins: list[tuple[int, int]]) -> None:
    right, wrong = (np.array(column, dtype=np.int64) for column in zip(*bins, strict=True))
    there, back = auroc(right, wrong), auroc(right[::-1], wrong[::-1])
    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert there + back == pytest.approx(1)
        assert accuracy_at(right, wrong, COVERAGES[0]) == pytest.approx(right.sum() / (right.sum() + wrong.sum()))
