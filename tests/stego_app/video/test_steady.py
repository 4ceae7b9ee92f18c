"""Flow, flicker and steadiness against known motion and naive sums."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stego_app.video.flicker import Flicker
from stego_app.video.flow import Flow, checked_flow, dis_flow
from stego_app.video.steady import Steady


def texture(seed: int = 0, height: int = 96, width: int = 128) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 255, (height // 4, width // 4), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


def still(height: int, width: int) -> Flow:
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return Flow(np.dstack([columns, rows]), np.ones((height, width), dtype=bool))


def test_the_flow_finds_a_shift_and_does_not_trust_what_came_in() -> None:
    picture = texture()
    before, after = picture[:, 10:120], picture[:, 5:115]  # everything moves 5 pixels to the right
    flow = dis_flow(np.ascontiguousarray(before), np.ascontiguousarray(after))
    columns, rows = np.meshgrid(np.arange(110), np.arange(96))
    inner = flow.consistent & (columns > 12) & (columns < 98)
    assert inner.mean() > 0.6
    assert np.median(flow.source[..., 0][inner] - columns[inner]) == pytest.approx(-5, abs=0.2)
    assert np.median(flow.source[..., 1][inner] - rows[inner]) == pytest.approx(0, abs=0.2)
    assert flow.consistent[:, :4].mean() < 0.2  # it was outside before


def test_the_forward_backward_check_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(1)
    backward, forward = (rng.normal(0, 1.5, (9, 11, 2)).round().astype(np.float32) for _ in range(2))
    flow = checked_flow(backward, forward)
    for row in range(9):
        for column in range(11):
            dx, dy = backward[row, column]
            x, y = int(column + dx), int(row + dy)
            assert flow.source[row, column].tolist() == [x, y]
            inside = 0 <= x < 11 and 0 <= y < 9
            there = forward[min(max(y, 0), 8), min(max(x, 0), 10)]
            error, size = ((backward[row, column] + there) ** 2).sum(), dx**2 + dy**2 + (there**2).sum()
            assert bool(flow.consistent[row, column]) == bool(inside and error < 0.01 * size + 0.5)


def test_flicker_counts_changes_of_the_same_surface_only() -> None:
    rng = np.random.default_rng(2)
    before = rng.integers(0, 3, (20, 30)).astype(np.uint8)
    flow = still(20, 30)
    flow.source[..., 0] -= 1  # everything moves one pixel to the right
    flow.consistent[:, 0] = False
    after = np.empty_like(before)
    after[:, 1:] = before[:, :-1]
    after[:, 0] = 9
    flicker = Flicker()
    flicker.add(before, after, flow)
    assert (flicker.changed, flicker.counted, flicker.share) == (0, 20 * 29, 0.0)
    after[3, 4:9] = 7
    flicker.add(before, after, flow)
    assert flicker.share == pytest.approx(5 / (2 * 20 * 29))
    assert Flicker().share == 0.0


def test_the_mean_is_the_running_mean_of_a_still_picture() -> None:
    rng = np.random.default_rng(3)
    frames = rng.dirichlet(np.ones(4), (7, 6, 8)).transpose(0, 3, 1, 2).astype(np.float32)
    state, grey = Steady(0.5), np.zeros((6, 8), dtype=np.uint8)
    wanted = frames[0]
    for number, frame in enumerate(frames):
        mean = state.step(frame, grey, number * 0.1, still(6, 8) if number else None).copy()
        wanted = frames[: number + 1].mean(0) if number < 5 else wanted + (frame - wanted) / 5
        np.testing.assert_allclose(mean, wanted, atol=1e-5)
        np.testing.assert_allclose(mean.sum(0), 1, atol=1e-5)
    assert state.frames is not None
    assert state.frames.max() == 5  # as many as half a second holds


def test_nothing_is_carried_where_the_flow_fails_the_surface_changes_or_memory_is_none() -> None:
    first, second = (np.full((2, 4, 6), value, dtype=np.float32) for value in (0.9, 0.1))
    dark, half = np.zeros((4, 6), dtype=np.uint8), np.zeros((4, 6), dtype=np.uint8)
    half[:, 3:] = 200
    flow = still(4, 6)
    flow.consistent[0] = False
    state = Steady(10)
    state.step(first, dark, 0.0, None)
    mean = state.step(second, half, 0.1, flow)
    np.testing.assert_allclose(mean[:, 0], 0.1, rtol=1e-5)
    np.testing.assert_allclose(mean[:, 1:, 3:], 0.1, rtol=1e-5)
    np.testing.assert_allclose(mean[:, 1:, :3], 0.5)
    alone = Steady(0.0)
    alone.step(first, dark, 0.0, None)
    np.testing.assert_allclose(alone.step(second, dark, 0.1, still(4, 6)), second, rtol=1e-5)


def test_a_label_that_flickers_is_outvoted_on_a_surface_that_moves() -> None:
    picture, rng = texture(4), np.random.default_rng(4)
    state, alone, steady = Steady(0.5), Flicker(), Flicker()
    before = None
    for number in range(12):
        grey = np.ascontiguousarray(picture[:, 24 - 2 * number : 124 - 2 * number])
        right = np.zeros((96, 100), dtype=np.uint8)
        right[:, 30 + 2 * number : 60 + 2 * number] = 1
        noisy = np.where(rng.random(right.shape) < 0.2, 1 - right, right)
        probabilities = np.stack([noisy == 0, noisy == 1]).astype(np.float32)
        flow = None if state.grey is None else dis_flow(state.grey, grey)
        labels = state.step(probabilities, grey, number / 25, flow).argmax(0).astype(np.uint8)
        if before is not None and flow is not None:
            alone.add(before[0], noisy, flow)
            steady.add(before[1], labels, flow)
        before = noisy, labels
    assert steady.share < 0.5 * alone.share
    assert (labels == right)[:, 12:-12].mean() > 0.97
