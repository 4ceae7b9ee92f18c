"""The medoid agrees most with the others, and votes are counted code by code."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stego_app.discovery.consensus import medoid, voted


def naive_adjusted_rand(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> float:
    """Over all pairs of patches: together in both, and what chance would give (Hubert & Arabie 1985)."""
    together_first = first[:, None] == first[None]
    together_second = second[:, None] == second[None]
    upper = np.triu_indices(len(first), 1)
    a, b = together_first[upper], together_second[upper]
    expected = a.sum() * b.sum() / len(a)
    largest = (a.sum() + b.sum()) / 2
    return 1.0 if largest == expected else float(((a & b).sum() - expected) / (largest - expected))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=12, max_size=12), min_size=1, max_size=5))
def test_the_medoid_has_the_highest_mean_agreement(drawn: list[list[int]]) -> None:
    partitions = [np.array(labels, dtype=np.int64) for labels in drawn]
    means = [sum(naive_adjusted_rand(one, other) for other in partitions) for one in partitions]
    assert means[medoid(partitions)] == pytest.approx(max(means))


def test_two_alike_outvote_a_stray_whatever_their_numbers() -> None:
    stray, alike = np.array([0, 1, 0, 1, 0, 1]), np.array([0, 0, 0, 1, 1, 1])
    assert medoid([stray, alike, 1 - alike]) == 1


def naive_votes(partitions: list[npt.NDArray[np.int64]], kept: int, labels: npt.NDArray[np.int64], codes: npt.NDArray[np.int64]) -> list[dict[int, float]]:
    """Votes of each code, one patch after another; counterparts are tried one by one."""
    classes = int(labels.max()) + 1
    votes = [dict.fromkeys(range(classes), 0.0) for _ in labels]
    for partition in partitions:

        def shared(order: tuple[int, ...], partition: npt.NDArray[np.int64] = partition) -> float:
            total = 0.0
            for theirs, ours in enumerate(order):
                one, other = partition == theirs, partitions[kept] == ours
                total += (one & other).sum() / max(1.0, np.sqrt(one.sum() * other.sum()))
            return total

        best = max(permutations(range(classes)), key=shared)
        for code, theirs in zip(codes, partition, strict=True):
            votes[code][best[theirs]] += 1
    return votes


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_code_gets_what_most_of_its_patches_are_in_all_draws_together(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.integers(3, size=60)
    codes = truth * 4 + random.integers(4, size=60)  # twelve codes, four of each class
    labels = np.repeat(np.arange(3), 4)
    labels[random.integers(12)] = random.integers(3)
    partitions = [labels[codes]]
    for _ in range(2):
        noisy = np.where(random.random(60) < 0.2, random.integers(3, size=60), truth)
        partitions.append(random.permutation(3)[noisy])
    found, votes = voted(partitions, 0, labels, codes), naive_votes(partitions, 0, labels, codes)
    if len(set(found.tolist())) < 3 or np.array_equal(found, labels):
        return
    for code, label in enumerate(found.tolist()):
        most = max(votes[code].values())
        assert votes[code][label] == most
        if votes[code][int(labels[code])] == most:
            assert label == labels[code]  # a tie stays as it is


def test_two_draws_outvote_the_kept_one_whatever_their_numbers() -> None:
    codes = np.repeat(np.arange(6), 5)
    truth, labels = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 1])
    other = 1 - truth[codes]
    assert voted([labels[codes], other, truth[codes]], 0, labels, codes).tolist() == truth.tolist()
    assert voted([labels[codes]], 0, labels, codes).tolist() == labels.tolist()
    assert voted([labels[codes], other], 0, labels, codes).tolist() == labels.tolist()  # a tie


def test_no_class_is_voted_away() -> None:
    codes = np.arange(4).repeat(3)
    labels = np.array([0, 1, 1, 2])
    others = np.array([1, 1, 1, 2])[codes]
    found = voted([labels[codes], others, others], 0, labels, codes)
    assert set(found.tolist()) == {0, 1, 2}
