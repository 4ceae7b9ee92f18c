from __future__ import annotations

import numpy as np
import scipy.linalg
import torch
from torch.nn.functional import normalize

from stego_app.discovery.crop_pairs import CropPairs
from stego_app.discovery.metric import position_whitening, same_point_similarity


def pairs_of(seed: int = 0, count: int = 4000, dim: int = 12) -> CropPairs:
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(dim, dim)) * np.geomspace(1, 0.05, dim)
    points = random.normal(size=(count, dim))
    views = [normalize(torch.from_numpy(points + random.normal(size=(count, dim)) @ mixing).float(), dim=1) for _ in range(2)]
    return CropPairs(views[0], views[1])


def test_scatter_between_views_becomes_the_identity() -> None:
    pairs = pairs_of()
    metric = position_whitening(pairs, torch.zeros(12), floor=1e-9)
    difference = (pairs.first - pairs.second) @ metric.matrix / 2**0.5
    np.testing.assert_allclose((difference.T @ difference / len(difference)).numpy(), np.eye(12), atol=1e-3)


def test_matrix_is_scipys_inverse_square_root() -> None:
    pairs = pairs_of(1)
    difference = (pairs.first - pairs.second).double().numpy() / 2**0.5
    scatter = difference.T @ difference / len(difference)
    floored = scatter + 0.05 * np.trace(scatter) / 12 * np.eye(12)
    expected = np.linalg.inv(scipy.linalg.sqrtm(floored).real)
    np.testing.assert_allclose(position_whitening(pairs, torch.zeros(12), floor=0.05).matrix.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_a_rotation_of_the_features_changes_no_cosine() -> None:
    pairs, tokens = pairs_of(2), torch.from_numpy(np.random.default_rng(3).normal(size=(50, 12))).float()
    rotation = torch.from_numpy(np.linalg.qr(np.random.default_rng(4).normal(size=(12, 12)))[0]).float()
    mean = torch.full((12,), 0.1)
    plain = position_whitening(pairs, mean).project(tokens)
    turned = position_whitening(CropPairs(pairs.first @ rotation, pairs.second @ rotation), mean @ rotation).project(tokens @ rotation)
    np.testing.assert_allclose((plain @ plain.T).numpy(), (turned @ turned.T).numpy(), atol=2e-4)


def test_projection_ignores_the_length_of_tokens_and_gives_unit_vectors() -> None:
    metric = position_whitening(pairs_of(), torch.zeros(12))
    tokens = torch.randn(30, 12, generator=torch.Generator().manual_seed(0))
    projected = metric.project(tokens)
    np.testing.assert_allclose(projected.numpy(), metric.project(tokens * 7).numpy(), atol=1e-5)
    np.testing.assert_allclose(projected.norm(dim=1).numpy(), 1, atol=1e-5)


def test_equal_views_leave_the_metric_as_it_is() -> None:
    first = pairs_of().first
    np.testing.assert_allclose(position_whitening(CropPairs(first, first), torch.zeros(12)).matrix.numpy(), np.eye(12), atol=1e-6)


def test_threshold_is_missed_by_the_share_asked_for_on_pairs_it_was_not_learnt_from() -> None:
    everything = pairs_of(5, count=20_000)
    learnt, fresh = (CropPairs(everything.first[rows], everything.second[rows]) for rows in (slice(10_000), slice(10_000, None)))
    threshold = same_point_similarity(learnt, torch.zeros(12), 0.01, 0.1)
    metric = position_whitening(learnt, torch.zeros(12), 0.01)
    below = ((metric.project(fresh.first) * metric.project(fresh.second)).sum(1) < threshold).float().mean()
    assert abs(float(below) - 0.1) < 0.01


def test_threshold_is_not_fooled_by_few_pairs() -> None:
    """In-sample, a metric learnt from few pairs makes them all look alike."""
    few = pairs_of(7, count=60, dim=50)
    held_out = same_point_similarity(few, torch.zeros(50), 1e-3, 0.5)
    metric = position_whitening(few, torch.zeros(50), 1e-3)
    in_sample = float(np.median((metric.project(few.first) * metric.project(few.second)).sum(1).numpy()))
    assert held_out < in_sample - 0.02


def test_threshold_of_a_single_pair_is_its_own_cosine() -> None:
    pair = CropPairs(torch.eye(3)[:1], torch.tensor([[0.6, 0.8, 0.0]]))
    assert abs(same_point_similarity(pair, torch.zeros(3), 0.01, 0.05) - 0.6) < 1e-6
