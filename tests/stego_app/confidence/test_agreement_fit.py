"""The table of agreement on patches whose classes are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from models.head import LookupHead
from stego_app.clusters import ClusterModel
from stego_app.confidence.calibration import calibration_error
from stego_app.confidence.fit import class_of_patches, curve, fit_agreement
from stego_app.confidence.partners import Patches, agreement_rates, partners_of, transitions_of

DIM, CLASSES, GRID = 12, 3, (6, 8)


@dataclass
class Source:
    """Images in memory."""

    features: list[npt.NDArray[np.float32]]
    paths: list[Path]

    def __len__(self) -> int:
        return len(self.features)

    def grid(self, index: int) -> tuple[int, int]:
        del index
        return GRID

    def tokens(self, index: int) -> npt.NDArray[np.float32]:
        return self.features[index]

    def sample(self, n_tokens: int, seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        del n_tokens, seed
        raise AssertionError("images are looked at whole")


def fitted(images: int = 8, noise: float = 0.02) -> tuple[ClusterModel, Source]:
    """Images whose left, middle and right belong to three classes, and the clusters that tell these apart; each class has two fine ones."""
    random = np.random.default_rng(0)
    directions = np.linalg.qr(random.normal(size=(DIM, DIM)))[0][: 2 * CLASSES].astype(np.float32)
    mates = np.repeat(directions[::2], 2, axis=0)
    directions = (directions + mates) / np.linalg.norm(directions + mates, axis=1, keepdims=True)
    leaf = np.tile(np.sort(np.arange(GRID[1]) % (2 * CLASSES)), GRID[0])
    features = [(directions[leaf] + noise * random.normal(size=(len(leaf), DIM))).astype(np.float32) for _ in range(images)]
    book = torch.from_numpy(directions)
    merges = np.array([[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]])
    model = ClusterModel(torch.zeros(DIM), torch.eye(DIM), LookupHead(book, book, 20.0).eval(), book, 0.1, merges, CLASSES)
    return model, Source(features, [Path(f"{number}.png") for number in range(images)])


def patches(count: int = 60, images: int = 4) -> Patches:
    random = np.random.default_rng(0)
    tokens = torch.nn.functional.normalize(torch.from_numpy(random.normal(size=(count, 5))).float(), dim=1)
    fine = torch.softmax(torch.from_numpy(random.normal(size=(count, 7))).float(), dim=1)
    return Patches(tokens, fine, random.integers(images, size=count))


def test_partners_are_the_nearest_of_other_images_by_a_plain_loop() -> None:
    given = patches()
    found = partners_of(given, 5)
    for i in range(60):
        others = [j for j in range(60) if given.images[j] != given.images[i]]
        cosines = {j: float(given.tokens[i] @ given.tokens[j]) for j in others}
        expected = sorted(others, key=cosines.__getitem__, reverse=True)[:5]
        assert set(found[i].tolist()) == set(expected)


def test_fewer_partners_where_other_images_hold_fewer_patches() -> None:
    given = patches(10)._replace(images=np.array([0] * 8 + [1, 1]))
    found = partners_of(given, 20)
    assert found.shape == (10, 2)
    assert set(found[0].tolist()) == {8, 9}
    assert all(number < 8 for number in found[9].tolist())


def test_transitions_by_a_plain_loop_over_pairs() -> None:
    given = patches()
    partners = partners_of(given, 4)
    joint = np.zeros((7, 7))
    for i in range(60):
        for j in partners[i].tolist():
            pair = np.outer(given.fine[i].numpy(), given.fine[j].numpy())
            joint += pair + pair.T
    np.testing.assert_allclose(transitions_of(given.fine, partners), joint / joint.sum(1, keepdims=True), atol=1e-4)


def test_a_fine_cluster_that_was_not_met_leads_to_itself() -> None:
    fine = torch.zeros(4, 3)
    fine[:, 0] = 1
    table = transitions_of(fine, torch.tensor([[1], [0], [3], [2]]))
    np.testing.assert_allclose(table.sum(1), 1, atol=1e-6)
    assert table[2, 2] == pytest.approx(1)


def test_agreement_rates_are_shares_of_equal_classes() -> None:
    rates = agreement_rates(np.array([0, 0, 1]), torch.tensor([[1, 2], [0, 2], [0, 1]]))
    np.testing.assert_allclose(rates, [0.5, 0.5, 0])


def test_well_separated_classes_agree_and_the_file_says_so() -> None:
    model, source = fitted()
    agreement = fit_agreement(model, source)
    assert agreement is not None
    assert agreement.reliability.agreement > 0.95
    assert agreement.reliability.error < 0.05
    assert agreement.transitions.shape == (len(model.fine), len(model.fine))


def test_noise_lowers_the_agreement_found() -> None:
    clear, noisy = (fit_agreement(*fitted(noise=noise)) for noise in (0.02, 0.4))
    assert clear is not None
    assert noisy is not None
    assert noisy.reliability.agreement < clear.reliability.agreement - 0.05
    assert noisy.reliability.error < 0.15


def test_the_same_seed_gives_the_same_table() -> None:
    model, source = fitted()
    first, second, other = (fit_agreement(model, source, seed=seed) for seed in (1, 1, 2))
    assert first is not None
    assert second is not None
    assert other is not None
    assert np.array_equal(first.transitions, second.transitions)
    assert np.array_equal(first.rates, second.rates)


def test_fewer_than_four_images_cannot_be_checked_on_each_other() -> None:
    model, source = fitted()
    assert fit_agreement(model, Source(source.features[:3], source.paths[:3])) is None
    assert fit_agreement(model, Source(source.features[:4], source.paths[:4])) is not None


def test_crops_count_as_one_image() -> None:
    model, source = fitted()
    crops = Source(source.features, [source.paths[number // 4] for number in range(8)])
    assert fit_agreement(model, crops) is None


def test_class_of_patches_sums_fine_clusters_first() -> None:
    fine = torch.tensor([[0.4, 0.3, 0.3]])
    assert class_of_patches(fine, np.array([0, 1, 1]), 2).tolist() == [1]


def test_the_curve_never_falls_and_meets_the_rates() -> None:
    random = np.random.default_rng(0)
    scores = random.random(4_000)
    knots, rates = curve(scores, (random.random(4_000) < scores**2).astype(float))
    assert (np.diff(rates) >= 0).all()
    np.testing.assert_allclose(np.interp([0.2, 0.5, 0.8], knots, rates), [0.04, 0.25, 0.64], atol=0.07)


def test_a_single_score_gives_a_level_curve() -> None:
    knots, rates = curve(np.full(10, 0.5), np.full(10, 0.3))
    np.testing.assert_allclose(np.interp([0.1, 0.5, 0.9], knots, rates), 0.3, atol=1e-6)


def test_calibration_error_by_a_plain_loop() -> None:
    random = np.random.default_rng(1)
    confidence, rates = random.random(500), random.random(500)
    confidence[0] = 1.0
    expected = 0.0
    for low in range(10):
        inside = [i for i in range(500) if low <= min(confidence[i] * 10, 9.999) < low + 1]
        expected += len(inside) / 500 * abs(float(np.mean(confidence[inside]) - np.mean(rates[inside])))
    assert calibration_error(confidence, rates, np.ones(len(rates))) == pytest.approx(expected)
