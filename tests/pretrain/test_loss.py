"""The feature loss against NumPy, one token at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain.loss import FeatureStatistics, feature_loss, tokens_of


def test_loss_equals_a_loop_over_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(7, 5, generator=generator), torch.randn(7, 5, generator=generator) * 3 + 1
    statistics = FeatureStatistics.of(teacher)
    loss, cosine = feature_loss(student, teacher, statistics)
    mean, std = teacher.numpy().mean(0), teacher.numpy().std(0, ddof=1)
    distances, cosines = [], []
    for a, b in zip((student.numpy() - mean) / std, (teacher.numpy() - mean) / std, strict=True):
        gap = np.abs(a - b)
        distances.append(np.where(gap < 1, 0.5 * gap**2, gap - 0.5).mean())
        cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert float(cosine) == pytest.approx(np.mean(cosines), abs=1e-5)
    assert float(loss) == pytest.approx(np.mean(distances) + 1 - np.mean(cosines), abs=1e-5)


def test_a_perfect_student_has_no_loss() -> None:
    teacher = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    loss, cosine = feature_loss(teacher.clone(), teacher, FeatureStatistics.of(teacher))
    assert float(loss) == pytest.approx(0, abs=1e-6)
    assert float(cosine) == pytest.approx(1, abs=1e-6)


def test_a_constant_channel_does_not_divide_by_zero() -> None:
    teacher = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    teacher[:, 1] = 2.0
    loss, _ = feature_loss(teacher + 0.1, teacher, FeatureStatistics.of(teacher))
    assert bool(torch.isfinite(loss))


def test_tokens_keep_their_channels_together() -> None:
    grid = torch.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2)
    tokens = tokens_of(grid)
    assert tokens.shape == (8, 3)
    assert torch.equal(tokens[5], grid[1, :, 0, 1])
