from __future__ import annotations

import numpy as np
import pytest
from planted_halves import split_of

from stego_app.discovery.class_count import choose_classes, held_out_loss, unchecked_classes
from stego_app.discovery.spectral import Matrix, spectrum


def grouped(groups: int, each: int, seed: int, within: float = 1.0, between: float = 0.02) -> Matrix:
    """Noisy counts of correspondences among ``groups`` groups of codes."""
    random = np.random.default_rng(seed)
    rate = np.kron(np.eye(groups), np.full((each, each), within)) + between
    return random.poisson(rate * 40).astype(np.float64)


@pytest.mark.parametrize("groups", [2, 3, 6, 9])
def test_finds_the_number_of_planted_groups(groups: int) -> None:
    size = groups * 12
    choice = choose_classes([split_of(grouped(groups, 12, seed), grouped(groups, 12, seed + 1)) for seed in (0, 2)], seed=0)
    assert choice.classes == groups
    assert set(choice.losses) == set(range(2, size // 8 + 1))


def test_held_out_loss_matches_its_definition_as_a_pair_loss() -> None:
    counts, labels = grouped(3, 4, 5), np.arange(12) % 4
    joint = (counts + counts.T) / (2 * counts.sum())
    share = np.array([joint[labels == k].sum() for k in range(4)])
    codes = np.eye(4)[labels] / np.sqrt(share)[labels][:, None]
    degrees = joint.sum(1)
    products = codes @ codes.T
    expected = -2 * (joint * products).sum() + (np.outer(degrees, degrees) * products**2).sum()
    assert held_out_loss(labels, counts) == pytest.approx(expected)


def test_a_class_that_held_out_images_do_not_show_costs_one() -> None:
    counts = np.zeros((4, 4))
    counts[:2, :2] = np.eye(2)
    assert held_out_loss(np.array([0, 1, 2, 2]), counts) == pytest.approx(3 - 2 * 2)


@pytest.mark.parametrize(("joint", "expected"), [(np.eye(3), 3), (np.kron(np.eye(12), np.ones((4, 4))), 8)])
def test_unchecked_number_is_fixed_or_as_many_as_there_are(joint: Matrix, expected: int) -> None:
    assert unchecked_classes(spectrum(joint / joint.sum() + 1e-9), seed=0) == expected


def test_several_splits_are_averaged_and_the_smallest_number_within_one_standard_error_is_taken() -> None:
    splits = [split_of(grouped(7, 12, seed, between=0.3), grouped(7, 12, seed + 1, between=0.3)) for seed in (0, 2, 4)]
    together = choose_classes(splits, seed=0)
    table = np.array([list(choose_classes([split], seed=0).losses.values()) for split in splits])
    np.testing.assert_allclose(list(together.losses.values()), table.mean(0))
    allowed = [
        count for count, loss in together.losses.items() if loss <= min(together.losses.values()) + table[:, table.mean(0).argmin()].std(ddof=1) / 3**0.5
    ]
    assert together.classes == min(allowed)


def test_where_one_more_class_hardly_gains_the_fewer_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    # Five groups of two halves each, that keep slightly more than the three quarters at which halving a group is worth what it costs.
    halves = np.kron(np.eye(5), np.kron([[0.76, 0.24], [0.24, 0.76]], np.ones((12, 12))))
    draws = [np.random.default_rng(seed).poisson(halves * 200).astype(np.float64) for seed in range(6)]
    splits = [split_of(first, second) for first, second in zip(draws[::2], draws[1::2], strict=True)]
    assert choose_classes(splits, seed=0).classes == 5
    monkeypatch.setattr("stego_app.discovery.class_count.PRICE", 1.0)
    assert choose_classes(splits, seed=0).classes == 10
