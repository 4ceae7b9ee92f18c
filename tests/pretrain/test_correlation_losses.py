"""Losses on correlations and distributions (Barlow Twins, VICReg, LeJEPA) against their papers' equations, and their terms on constructed features."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from tests.pretrain.method_parts import CLOSE, COUNT, build, projected, random_batch


def test_barlow_twins() -> None:
    method, batch = build("barlow-twins", projection=6, redundancy=0.01), random_batch()
    z = projected(method, batch.views).detach().double().numpy()
    a, b = ((part - part.mean(0)) / np.sqrt(part.var(0) + 1e-5) for part in (z[:COUNT], z[COUNT:]))  # batch norm's epsilon
    naive = 0.0
    for i in range(6):
        for j in range(6):
            c = np.sum(a[:, i] * b[:, j]) / COUNT
            naive += (1 - c) ** 2 if i == j else 0.01 * c**2
    assert float(method(batch).loss.detach()) == pytest.approx(naive, **CLOSE)


def _vicreg(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Invariance (equation 5 over the channels too), variance (1, the branches' mean) and covariance (4, their sum), written out."""
    dim = a.shape[1]
    variance = np.mean([np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)).mean() for z in (a, b)])
    covariance = sum((np.cov(z.T)[~np.eye(dim, dtype=bool)] ** 2).sum() / dim for z in (a, b))
    return float(((a - b) ** 2).mean()), float(variance), float(covariance)


def test_vicreg() -> None:
    method, batch = build("vicreg", projection=6, invariance=2.0, variance=3.0, covariance=0.5), random_batch()
    z = projected(method, batch.views).detach().double().numpy()
    s, v, c = _vicreg(z[:COUNT], z[COUNT:])
    assert float(method(batch).loss.detach()) == pytest.approx(2 * s + 3 * v + 0.5 * c, **CLOSE)


def test_vicregs_terms_on_a_constructed_covariance() -> None:
    method: Any = build("vicreg", projection=6)
    white = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]) * math.sqrt(3 / 4) * 2  # deviation 2, no covariance
    assert float(method.criterion(white, white)) == pytest.approx(0, abs=1e-5)
    flat = torch.zeros(4, 2)
    assert float(method.criterion(flat, flat)) == pytest.approx(25 * (1 - 0.01), rel=1e-5)  # sqrt(epsilon) of deviation is left
    tied = white[:, :1].expand(-1, 2)  # covariance 4 between the two channels
    assert float(method.criterion(tied, tied)) == pytest.approx(2 * (2 * 4.0**2) / 2, rel=1e-5)


def test_vicregs_second_modality_has_a_network_of_its_own(tmp_path: Any) -> None:
    method: Any = build("vicreg", fields={"pair": tmp_path}, projection=6)
    batch = random_batch()
    method(batch).loss.backward()
    with torch.no_grad():
        for parameter in method.second_encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    first = method.head(method.pooled(batch.views[0]))
    other = method.second_encoder
    second = method.second_head(other.pool(other(batch.views[1]), "mean"))
    s, v, c = _vicreg(first.detach().double().numpy(), second.detach().double().numpy())
    assert float(method(batch).loss.detach()) == pytest.approx(25 * s + 25 * v + c, **CLOSE)
    assert all(parameter.grad is not None for name, parameter in method.named_parameters() if parameter.requires_grad and "cls_token" not in name)


def test_vicreg_is_finite_with_two_images() -> None:
    method: Any = build("vicreg", projection=6)
    z = torch.randn(2, 6, requires_grad=True)
    method.criterion(z, z.detach().flip(0)).backward()
    assert bool(torch.isfinite(z.grad).all())  # type: ignore[arg-type]


def test_lejepa() -> None:
    method: Any = build("lejepa", hidden=16, projection=4, local_crops=2, local_size=16, slices=3, weight=0.2)
    batch = random_batch(local=2)
    groups = [method.head(method.pooled(group.flatten(0, 1))).unflatten(0, (2, COUNT)).detach().double() for group in (batch.views, batch.local)]
    z = torch.cat(groups).numpy()
    torch.manual_seed(3)
    directions = torch.randn(4, 3)
    directions = (directions / directions.norm(dim=0)).double().numpy()
    t = np.linspace(0, 3, 17)
    statistics = []
    for view in z:  # Epps-Pulley: N ∫ |ecf(t) - exp(-t²/2)|² exp(-t²/2) dt over [-3, 3]
        for direction in directions.T:
            ecf = np.exp(1j * t[:, None] * (view @ direction)[None]).mean(1)
            statistics.append(COUNT * 2 * np.trapezoid(np.abs(ecf - np.exp(-(t**2) / 2)) ** 2 * np.exp(-(t**2) / 2), t))
    invariance = ((z - z[:2].mean(0)) ** 2).mean()
    torch.manual_seed(3)
    assert float(method(batch).loss.detach()) == pytest.approx(0.2 * np.mean(statistics) + 0.8 * invariance, rel=5e-5)


def test_sigreg_is_lower_for_a_gaussian_than_for_a_collapsed_batch() -> None:
    method: Any = build("lejepa", slices=64)
    gaussian = torch.randn(500, 8)
    assert float(method.criterion.sigreg(gaussian)) < 0.1 * float(method.criterion.sigreg(torch.zeros(500, 8)))
    assert float(method.criterion.sigreg(gaussian)) < float(method.criterion.sigreg(3 * gaussian))
