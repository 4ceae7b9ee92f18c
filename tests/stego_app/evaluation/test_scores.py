"""Histogram, matching and scores against brute force, naive loops and scikit-learn."""

from __future__ import annotations

import itertools
import json
import warnings

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

from stego_app.evaluation import accumulate, hungarian, hungarian_scores, majority, majority_scores, matched_scores

Pixels = npt.NDArray[np.int64]


@st.composite
def predictions(draw: st.DrawFn, *, most: int = 6) -> tuple[Pixels, Pixels, int, int]:
    """Clusters and labels of some pixels, some of them void, and how many clusters and classes there may be."""
    clusters, classes = draw(st.integers(1, most)), draw(st.integers(1, most))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = random.integers(0, classes, draw(st.integers(1, 200)))
    guess = np.where(random.random(labels.shape) < 0.6, labels % clusters, random.integers(0, clusters, labels.shape))
    labels[random.random(labels.shape) < 0.15] = 255
    return guess, labels, clusters, classes


def names(classes: int) -> list[str]:
    return [f"c{number}" for number in range(classes)]


def naive_iou(said: Pixels, truth: Pixels, label: int) -> float:
    """IoU of a class in per cent by counting pixel by pixel; ``said`` -1 for none."""
    both = either = 0
    for mine, right in zip(said.tolist(), truth.tolist(), strict=True):
        if right == 255:
            continue
        both += mine == label == right
        either += label in (mine, right)
    return 100 * both / either if either else 0.0


@given(predictions())
def test_histogram_against_a_loop_and_scikit_learn(case: tuple[Pixels, Pixels, int, int]) -> None:
    guess, labels, clusters, classes = case
    expected = np.zeros((clusters, classes), dtype=np.int64)
    for cluster, label in zip(guess, labels, strict=True):
        if label != 255:
            expected[cluster, label] += 1
    result = accumulate(guess, labels, clusters, classes)
    np.testing.assert_array_equal(result, expected)
    counted = labels != 255
    if counted.any():
        size = max(clusters, classes)
        table = confusion_matrix(guess[counted], labels[counted], labels=range(size + 1))  # one more: it warns of a single one
        np.testing.assert_array_equal(result, table[:clusters, :classes])


def test_histogram_of_images_adds_up_and_takes_small_types() -> None:
    random = np.random.default_rng(0)
    guess, labels = random.integers(0, 27, (3, 40, 50), dtype=np.uint8), random.integers(0, 27, (3, 40, 50), dtype=np.uint8)
    total = sum(accumulate(*pair, 27, 27) for pair in zip(guess, labels, strict=True))
    np.testing.assert_array_equal(total, accumulate(guess, labels, 27, 27))
    assert total.dtype == np.int64
    np.testing.assert_array_equal(accumulate(guess[0], np.full((40, 50), 255), 3, 4), np.zeros((3, 4)))


@pytest.mark.parametrize(
    ("guess", "label", "reason"), [(3, 0, "predicted clusters from 3 to 3"), (-1, 0, "predicted"), (0, 4, "labels from 4 to 4"), (0, -1, "labels")]
)
def test_histogram_refuses_values_out_of_range(guess: int, label: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        accumulate(np.array([guess]), np.array([label]), 3, 4)


def test_histogram_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        accumulate(np.zeros((2, 3), dtype=int), np.zeros((3, 2), dtype=int), 1, 1)


@given(predictions(most=5))
def test_hungarian_against_every_permutation(case: tuple[Pixels, Pixels, int, int]) -> None:
    guess, labels, clusters, classes = case
    histogram = accumulate(guess, labels, clusters, classes)
    size = max(clusters, classes)
    padded = np.zeros((size, size), dtype=np.int64)
    padded[:clusters, :classes] = histogram
    best = max(sum(padded[row, column] for row, column in enumerate(order)) for order in itertools.permutations(range(size)))
    matching = hungarian(histogram)
    used = [label for label in matching.tolist() if label >= 0]
    assert len(used) == len(set(used)) == min(clusters, classes)
    assert sum(histogram[cluster, label] for cluster, label in enumerate(matching) if label >= 0) == best


def test_hungarian_is_not_greedy() -> None:
    assert hungarian(np.array([[10, 9], [9, 1]])).tolist() == [1, 0]


@given(predictions())
def test_majority_is_each_clusters_most_frequent_class(case: tuple[Pixels, Pixels, int, int]) -> None:
    guess, labels, clusters, classes = case
    matching = majority(accumulate(guess, labels, clusters, classes))
    for cluster, label in enumerate(matching):
        inside = labels[(guess == cluster) & (labels != 255)]
        if label == -1:
            assert len(inside) == 0
        else:
            assert np.bincount(inside, minlength=classes).max() == (inside == label).sum()


@given(predictions())
def test_scores_against_a_naive_loop_and_scikit_learn(case: tuple[Pixels, Pixels, int, int]) -> None:
    guess, labels, clusters, classes = case
    counted = labels != 255
    histogram = accumulate(guess, labels, clusters, classes)
    scores = hungarian_scores(histogram, names(classes))
    said = np.array(scores.matching)[guess]
    if not counted.any():
        assert scores.miou == scores.accuracy == 0
        assert scores.per_class == (None,) * classes
        return
    present = np.unique(labels[counted])
    expected = [naive_iou(said, labels, int(label)) for label in present]
    assert scores.miou == pytest.approx(np.mean(expected))
    assert scores.accuracy == pytest.approx(100 * accuracy_score(labels[counted], said[counted]))
    assert [label for label, iou in enumerate(scores.per_class) if iou is not None] == present.tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that were never said
        per_class = jaccard_score(labels[counted], said[counted], labels=present, average=None, zero_division=0)
        table = confusion_matrix(labels[counted], np.where(said == -1, classes, said)[counted], labels=range(classes + 1))
    assert [scores.per_class[label] for label in present] == pytest.approx((100 * per_class).tolist())
    np.testing.assert_array_equal(scores.confusion, table[:classes])


@given(predictions(), st.integers(0, 2**31))
def test_scores_do_not_depend_on_the_numbering_of_clusters(case: tuple[Pixels, Pixels, int, int], seed: int) -> None:
    """Accuracy is unique; mIoU is compared where the best matching is, since others of equal accuracy may differ in it."""
    guess, labels, clusters, classes = case
    order = np.random.default_rng(seed).permutation(clusters)
    before = hungarian_scores(accumulate(guess, labels, clusters, classes), names(classes))
    after = hungarian_scores(accumulate(order[guess], labels, clusters, classes), names(classes))
    assert after.accuracy == pytest.approx(before.accuracy)
    if all(after.matching[order[cluster]] == before.matching[cluster] for cluster in range(clusters)):
        assert after.miou == pytest.approx(before.miou)
        np.testing.assert_array_equal(after.confusion, before.confusion)


@given(st.integers(1, 30), st.integers(0, 2**31))
@settings(max_examples=30)
def test_perfect_prediction_gives_100_under_any_numbering(classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.permutation(np.resize(np.arange(classes), 5 * classes))
    order = random.permutation(classes)
    labels_with_void = np.append(labels, [255, 255])
    guess = np.append(order[labels], [0, 0])
    for scores in (score(accumulate(guess, labels_with_void, classes, classes), names(classes)) for score in (hungarian_scores, majority_scores)):
        assert scores.miou == scores.accuracy == 100
        np.testing.assert_array_equal(np.array(scores.matching)[order], np.arange(classes))


@given(predictions())
def test_majority_is_never_less_accurate_than_hungarian(case: tuple[Pixels, Pixels, int, int]) -> None:
    guess, labels, clusters, classes = case
    histogram = accumulate(guess, labels, clusters, classes)
    assert majority_scores(histogram, names(classes)).accuracy >= hungarian_scores(histogram, names(classes)).accuracy - 1e-9


def test_pixels_of_left_over_clusters_are_errors() -> None:
    scores = hungarian_scores(np.array([[50, 0], [0, 30], [20, 0]]), ["a", "b"])
    assert scores.matching == (0, 1, -1)
    assert scores.accuracy == pytest.approx(80)
    assert scores.per_class == pytest.approx((100 * 50 / 70, 100))
    np.testing.assert_array_equal(scores.confusion, [[50, 0, 20], [0, 30, 0]])


def test_class_without_a_cluster_has_iou_0() -> None:
    scores = hungarian_scores(np.array([[50, 40]]), ["a", "b"])
    assert scores.per_class == pytest.approx((100 * 50 / 90, 0))
    assert scores.miou == pytest.approx(100 * 50 / 180)


def test_class_absent_from_the_labels_is_left_out_of_the_mean() -> None:
    scores = matched_scores(np.array([[50, 0], [50, 0]]), np.array([0, 1]), ["a", "b"])
    assert scores.per_class == (50.0, None)
    assert scores.miou == 50


def test_ignored_pixels_are_errors() -> None:
    scores = hungarian_scores(np.array([[60, 0], [0, 20]]), ["a", "b"], ignored=np.array([20, 0]))
    assert scores.accuracy == 80
    assert scores.per_class == (75.0, 100.0)
    np.testing.assert_array_equal(scores.confusion, [[60, 0, 20], [0, 20, 0]])


def test_scores_as_json() -> None:
    scores = hungarian_scores(np.array([[5, 0, 0], [1, 4, 0]]), ["sky", "road", "absent"])
    stored = json.loads(json.dumps(scores.as_dict()))
    assert stored["accuracy"] == 90
    assert stored["per_class"][2] == {"name": "absent", "iou": None}
    assert stored["confusion"] == [[5, 1, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0]]


def test_names_or_matching_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        hungarian_scores(np.zeros((2, 2), dtype=np.int64), ["a"])
    with pytest.raises(ValueError, match="does not fit"):
        matched_scores(np.zeros((2, 2), dtype=np.int64), np.array([0]), ["a", "b"])
