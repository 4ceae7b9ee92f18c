"""Rays, queries, neighbours within a radius and losses, against naive loops and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from pretrain.lidar.batches import Asking, asked
from pretrain.lidar.decoder import Answers, LocalDecoder, pair_losses
from pretrain.lidar.queries import UNKNOWN, ray_queries
from pretrain.lidar.radius import pairs_within
from stego_app.lidar.motion import random_motion
from stego_app.lidar.scan import Scan


def scene(seed: int, count: int = 50) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 8, (count, 3)).astype(np.float32), rng.random(count, dtype=np.float32)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_queries_lie_on_rays_on_the_right_side(seed: int) -> None:
    points, intensity = scene(seed)
    origin = np.array([0.5, -1.0, 2.0], np.float32)
    found = ray_queries(points, intensity, origin, 20, 0.1, np.random.default_rng(seed))
    assert found.full.sum() == 20
    assert len(found.points) == 60
    for number in range(60):
        kind = number // 20
        # The ray is the one whose direction agrees: the same for the three queries of a number.
        place = found.points[number].astype(np.float64)
        behind = found.points[number % 20].astype(np.float64)
        along = (behind - origin) / np.linalg.norm(behind - origin)
        across = (place - origin) - along * float((place - origin) @ along)
        assert np.linalg.norm(across) < 2e-4
        ahead = (points - origin) @ along
        hit = points[int(np.argmin(np.linalg.norm(points - origin - ahead[:, None] * along, axis=1) + 10 * (ahead < 0)))]
        distance = float((place - origin) @ along) - float(np.linalg.norm(hit - origin))
        if kind == 0:
            assert found.full[number]
            assert -1e-4 <= distance <= 0.1 + 1e-4
        elif kind == 1:
            assert not found.full[number]
            assert -0.1 - 1e-4 <= distance <= 1e-4
        else:
            assert not found.full[number]
            assert -float(np.linalg.norm(hit - origin)) - 1e-4 <= distance <= 1e-4
        expected = UNKNOWN if kind == 2 else float(intensity[np.flatnonzero((points == hit).all(axis=1))[0]])
        assert found.intensity[number] == pytest.approx(expected)


def test_queries_spread_over_offsets_and_over_the_whole_ray() -> None:
    points = np.tile(np.array([[10.0, 0, 0]], np.float32), (4000, 1))
    found = ray_queries(points, np.zeros(4000, np.float32), np.zeros(3, np.float32), 4000, 0.1, np.random.default_rng(0))
    behind, front, along = (part[:, 0] for part in np.split(found.points, 3))
    assert behind.mean() == pytest.approx(10.05, abs=0.003)
    assert front.mean() == pytest.approx(9.95, abs=0.003)
    assert along.mean() == pytest.approx(5.0, abs=0.2)
    assert along.min() < 0.1


def test_returns_at_the_sensor_are_no_rays() -> None:
    points = np.array([[0, 0, 0], [0.05, 0, 0], [3, 0, 0]], np.float32)
    found = ray_queries(points, np.ones(3, np.float32), np.zeros(3, np.float32), 10, 0.1, np.random.default_rng(0))
    assert len(found.points) == 3
    assert np.isfinite(found.points).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_sensor_moves_with_the_points(seed: int) -> None:
    points, intensity = scene(seed)
    motion = random_motion(np.random.default_rng(seed), 1.6)
    assert np.allclose(motion.matrix @ motion.matrix.T, np.eye(3), atol=1e-5)
    assert motion.matrix[2].tolist() == [0, 0, 1]  # what is upright stays so
    moved, origin = motion(points), motion(np.zeros((1, 3), np.float32))[0]
    assert np.allclose(np.linalg.norm(moved - origin, axis=1), np.linalg.norm(points, axis=1), atol=1e-4)
    rng = np.random.default_rng(seed)
    scan, sensor, queries = asked(Scan(points, intensity, np.arange(50), 50), Asking(50, 0.1, 1.6), rng)
    again = random_motion(np.random.default_rng(seed), 1.6)
    assert np.array_equal(scan.points, again(points))
    assert np.array_equal(sensor, again.shift)
    back = (queries.points - again.shift) @ again.matrix.T  # undone, every query lies on a ray from the sensor at zero
    unit = back / np.linalg.norm(back, axis=1, keepdims=True)
    rays = points / np.linalg.norm(points, axis=1, keepdims=True)
    far = np.linalg.norm(back, axis=1) > 0.5  # nearer, float32 blurs directions
    assert (unit[far] @ rays.T).max(axis=1) == pytest.approx(1.0, abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.3, 1.0, 2.7]))
def test_pairs_within_a_radius_are_scipys(seed: int, radius: float) -> None:
    rng = np.random.default_rng(seed)
    queries, supports = rng.uniform(-4, 4, (60, 3)), rng.uniform(-4, 4, (200, 3))
    query_scan, support_scan = rng.integers(0, 2, 60), rng.integers(0, 2, 200)
    found = pairs_within(*(torch.from_numpy(part) for part in (queries, query_scan, supports, support_scan)), radius)
    wanted = {
        (int(query), support)
        for query in range(60)
        for support in cKDTree(supports).query_ball_point(queries[query], radius)
        if query_scan[query] == support_scan[support]
    }
    listed = list(zip(found[0].tolist(), found[1].tolist(), strict=True))
    assert len(listed) == len(set(listed))
    assert set(listed) == wanted


def test_no_support_near_is_no_pair() -> None:
    one, zero = torch.zeros(1, 3), torch.zeros(1, dtype=torch.long)
    query, support = pairs_within(one, zero, one + 5, zero, 1.0)
    assert len(query) == len(support) == 0
    losses = pair_losses(Answers(torch.zeros(0), torch.zeros(0)), torch.zeros(0, dtype=torch.bool), torch.zeros(0))
    assert [float(value) for value in losses] == [0, 0, 0]


def test_losses_are_naive_means_over_pairs() -> None:
    torch.manual_seed(0)
    answers = Answers(torch.randn(40) * 3, torch.rand(40))
    full, intensity = torch.rand(40) < 0.4, torch.rand(40)
    intensity[::3] = UNKNOWN
    entropy, error, known, right = 0.0, 0.0, 0, 0
    for logit, value, is_full, wanted in zip(answers.occupancy.tolist(), answers.intensity.tolist(), full.tolist(), intensity.tolist(), strict=True):
        probability = 1 / (1 + math.exp(-logit))
        entropy -= math.log(probability if is_full else 1 - probability)
        right += (probability > 0.5) == is_full
        if wanted >= 0:
            error += abs(value - wanted)
            known += 1
    losses = pair_losses(answers, full, intensity)
    assert float(losses.occupancy) == pytest.approx(entropy / 40, abs=1e-5)
    assert float(losses.intensity) == pytest.approx(error / known, abs=1e-5)
    assert float(losses.accuracy) == pytest.approx(right / 40)


def test_the_decoder_is_an_mlp_of_latent_and_offset() -> None:
    torch.manual_seed(0)
    decoder = LocalDecoder(6, 5)
    latents, offsets, support = torch.randn(4, 6), torch.randn(9, 3), torch.randint(0, 4, (9,))
    found = decoder(latents, offsets, support)
    first = torch.cat([decoder.of_latent.weight, decoder.of_offset.weight], dim=1)
    for pair in range(9):
        joined = torch.cat([latents[support[pair]], offsets[pair]])
        hidden = torch.relu(first @ joined + decoder.of_latent.bias)
        answer = decoder.last(torch.relu(decoder.inner(hidden)))
        assert torch.allclose(torch.stack([found.occupancy[pair], found.intensity[pair]]), answer, atol=1e-5)
