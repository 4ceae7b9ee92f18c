"""The temperature and the centre of a teacher's answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import entropy

from pretrain.methods.assignments import centred
from pretrain.methods.sharpening import SHARPEST, Sharpening, center_momentum, start_center
from tests.pretrain.method_parts import build, random_batch


def _share(logits: np.ndarray, temperature: float) -> float:
    return float(np.mean([entropy(softmax(row / temperature)) for row in logits]) / np.log(logits.shape[1]))


def test_flat_answers_are_sharpened_until_they_say_enough() -> None:
    logits = np.random.default_rng(0).normal(0, 0.02, (40, 64))
    assert _share(logits, 0.07) > 0.98
    sharpening = Sharpening(0.07, 0.75)
    for _ in range(60):
        sharpening.follow(_share(logits, sharpening.temperature(0.07)))
    assert _share(logits, sharpening.temperature(0.07)) == pytest.approx(0.75, abs=0.01)
    for _ in range(60):  # the teacher has learnt to tell images apart: the published temperature rules again
        sharpening.follow(_share(50 * logits, sharpening.temperature(0.07)))
    assert sharpening.temperature(0.07) == pytest.approx(0.07)
    assert sharpening.temperature(0.055) == pytest.approx(0.055)


@given(st.lists(st.floats(0, 1), max_size=200), st.floats(0.04, 0.07))
def test_a_temperature_is_never_above_the_schedule_nor_zero(entropies: list[float], published: float) -> None:
    sharpening = Sharpening(0.07, 0.75)
    for one in entropies:
        sharpening.follow(one)
    assert SHARPEST * 0.999 <= sharpening.temperature(published) <= published


def test_one_means_the_published_schedule_alone() -> None:
    sharpening = Sharpening(0.07, 1.0)
    sharpening.follow(1.0)
    assert sharpening.temperature(0.04) == pytest.approx(0.04)


def test_a_new_center_is_the_mean_of_the_first_answers() -> None:
    answers = torch.randn(9, 5) + 3
    center = torch.zeros(1, 1, 5)
    start_center(center, answers)
    np.testing.assert_allclose(center[0, 0], answers.double().mean(0), rtol=1e-5)
    start_center(center, torch.randn(9, 5))
    np.testing.assert_allclose(center[0, 0], answers.double().mean(0), rtol=1e-5)
    empty = torch.zeros(1, 5)
    start_center(empty, torch.empty(0, 5))
    assert not empty.any()


def test_a_center_follows_ten_times_as_fast_as_the_teacher() -> None:
    assert center_momentum(None, 0.996) == pytest.approx(0.9)
    assert center_momentum(None, 0.98) == pytest.approx(0.8)
    assert center_momentum(None, 0.5) == 0
    assert center_momentum(0.3, 0.996) == 0.3


@pytest.mark.parametrize("name", ["dino", "ibot", "dinov2"])
def test_the_first_answers_hold_nothing_that_all_images_share(name: str) -> None:
    method: Any = build(name, hidden=16, bottleneck=4, prototypes=7, local_crops=2, local_size=16, most_entropy=0.05)
    logs = method(random_batch(local=2)).logs
    assert logs["teacher_marginal"] > 0.94
    assert method.sharpening.ceiling < 0.07  # the answers were less sharp than asked, so the next ones are sharper
    assert "sharpening.ceiling" in method.state_dict()


def test_swavs_assignments_are_sharpened() -> None:
    method: Any = build("swav", hidden=16, projection=8, prototypes=32, local_crops=0, queue=0, most_entropy=0.4)
    first = method(random_batch()).logs["teacher_entropy"]
    for _ in range(40):
        last = method(random_batch()).logs["teacher_entropy"]
    assert first > 0.5
    assert last == pytest.approx(0.4, abs=0.02)


def test_a_prototype_far_from_every_image_is_assigned_all_the_same() -> None:
    logits = 0.01 * torch.randn(12, 6)
    logits[:, 2] -= 1.9  # exp(-1900) is nothing in any precision
    answers = centred(logits, 0.001, 3)
    assert answers.isfinite().all()
    torch.testing.assert_close(answers.sum(1), torch.ones(12))
    assert float(answers[:, 2].sum()) == pytest.approx(2.0, rel=0.3)
