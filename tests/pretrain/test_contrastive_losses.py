"""Contrastive and self-distilling losses (SimCLR, SimCLRv2, BYOL, SimSiam) against their papers' equations, computed in NumPy without their code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from pretrain.methods.simclrv2 import distillation_loss, labelled_subset
from pretrain.schedules import Clock
from tests.pretrain.method_parts import CLOSE, COUNT, build, projected, random_batch, softmax, unit


def _contrastive(z: np.ndarray, temperature: float) -> float:
    """SimCLR's equation 1 over all 2N positive pairs, one by one."""
    count, total = len(z) // 2, 0.0
    for i in range(2 * count):
        j = (i + count) % (2 * count)
        others = [z[i] @ z[k] / temperature for k in range(2 * count) if k != i]
        total += logsumexp(others) - z[i] @ z[j] / temperature
    return total / (2 * count)


@pytest.mark.parametrize("name", ["simclr", "simclrv2"])
def test_simclr(name: str) -> None:
    method, batch = build(name, hidden=16, projection=8, temperature=0.3), random_batch()
    z = unit(projected(method, batch.views))
    assert float(method(batch).loss.detach()) == pytest.approx(_contrastive(z, 0.3), **CLOSE)
    assert sum(isinstance(layer, torch.nn.Linear) for layer in method.head.modules()) == (2 if name == "simclr" else 3)  # type: ignore[union-attr]


def test_byol() -> None:
    method: Any = build("byol", hidden=16, projection=8)
    batch = random_batch()
    with torch.no_grad():  # a target unlike the online network
        for parameter in method.target.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    images = batch.views.flatten(0, 1)
    p, z = unit(method.predictor(method.online(images))), unit(method.target(images))
    first, second = slice(0, COUNT), slice(COUNT, None)
    naive = np.mean(np.sum((p[first] - z[second]) ** 2, 1)) + np.mean(np.sum((p[second] - z[first]) ** 2, 1))
    loss = method(batch).loss
    assert float(loss.detach()) == pytest.approx(naive, **CLOSE)
    loss.backward()
    assert all(parameter.grad is None for parameter in method.target.parameters())


def test_the_teacher_is_the_moving_average_of_the_student() -> None:
    method: Any = build("byol", step=0, hidden=16, projection=8, momentum=0.9)
    before = [parameter.clone() for parameter in method.target.parameters()]
    with torch.no_grad():
        for parameter in method.online.parameters():
            parameter.add_(1)
    method.after_step()
    for old, new, online in zip(before, method.target.parameters(), method.online.parameters(), strict=True):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * online)


def test_simsiam() -> None:
    method: Any = build("simsiam", projection=16, bottleneck=4)
    batch = random_batch()
    projected = method.projector(method.pooled(batch.views.flatten(0, 1)))
    z, p = unit(projected), unit(method.predictor(projected))
    naive = -0.5 * np.mean(np.sum(p[:COUNT] * z[COUNT:], 1)) - 0.5 * np.mean(np.sum(p[COUNT:] * z[:COUNT], 1))
    assert float(method(batch).loss.detach()) == pytest.approx(naive, **CLOSE)


def test_simclrv2_fine_tunes_from_the_heads_middle_and_distils() -> None:
    options = {"hidden": 16, "projection": 8, "label_fraction": 0.5}
    method: Any = build("simclrv2", **options)
    assert [method.stage(Clock(step, 100)) for step in (0, 59, 60, 79, 80, 99)] == [0, 0, 1, 1, 2, 2]
    assert method.subset(Clock(10, 100)) is None
    labelled = method.subset(Clock(60, 100))
    assert np.bincount(labelled % 4).tolist() == [5] * 4
    method.clock = Clock(59, 100)
    with torch.no_grad():
        method.encoder.network.blocks[0].mlp.fc1.weight.add_(1)
    method.after_step()  # the fine-tuned copy starts where pretraining ended
    torch.testing.assert_close(method.tuned.encoder.network.blocks[0].mlp.fc1.weight, method.encoder.network.blocks[0].mlp.fc1.weight)
    batch = random_batch()
    method.clock = Clock(60, 100)
    logits = method.tuned(batch.views.flatten(0, 1)).detach().double().numpy()
    labels = np.tile(batch.labels.numpy(), 2)
    naive = -np.mean(np.log(softmax(logits)[np.arange(len(labels)), labels]))
    assert float(method(batch).loss.detach()) == pytest.approx(naive, **CLOSE)
    method.clock = Clock(80, 100)
    loss = method(batch).loss
    loss.backward()
    assert all(parameter.grad is None for parameter in method.tuned.parameters())
    assert method.student.classify.weight.grad is not None


def test_simclrv2s_distillation() -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 5, 3))
    naive = -np.mean(np.sum(softmax(teacher / 0.5) * np.log(softmax(student / 0.5)), axis=1))
    assert float(distillation_loss(torch.from_numpy(student), torch.from_numpy(teacher), 0.5)) == pytest.approx(naive, **CLOSE)
    assert len(labelled_subset(np.array([0] * 50 + [1] * 3), 0.1, 0)) == 5 + 1
