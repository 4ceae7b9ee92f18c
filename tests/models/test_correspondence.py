"""The losses against loops over points written from the papers' sums, one number at a time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from models.correspondence import correspondence, correspondence_loss, spatially_centred


def points(seed: int, batch: int, channels: int, count: int) -> torch.Tensor:
    return torch.randn(batch, channels, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss(f: torch.Tensor, g: torch.Tensor, s: torch.Tensor, t: torch.Tensor, shift: float) -> torch.Tensor:
    return correspondence_loss(*(normalize(x, dim=1) for x in (f, g, s, t)), shift)


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def column(tensor: torch.Tensor, image: int, point: int) -> list[float]:
    return tensor[image, :, point].tolist()  # type: ignore[no-any-return]


def naive_loss(f: torch.Tensor, g: torch.Tensor, s: torch.Tensor, t: torch.Tensor, shift: float) -> float:
    batch, _, n = f.shape
    m = g.shape[2]
    agreement = [[[cosine(column(f, b, i), column(g, b, j)) for j in range(m)] for i in range(n)] for b in range(batch)]
    overall = sum(v for image in agreement for row in image for v in row) / (batch * n * m)
    agreement = [[[v - sum(row) / m for v in row] for row in image] for image in agreement]
    left = sum(v for image in agreement for row in image for v in row) / (batch * n * m)
    agreement = [[[v - left + overall for v in row] for row in image] for image in agreement]
    total = 0.0
    for b in range(batch):
        for i in range(n):
            for j in range(m):
                similarity = cosine(column(s, b, i), column(t, b, j))
                total += -(agreement[b][i][j] - shift) * max(similarity, 0.0)
    return total / (batch * n * m)


@pytest.mark.parametrize("shift", [0.0, 0.12, 0.66])
def test_correspondence_loss_equals_a_loop_over_points(shift: float) -> None:
    f, g, s, t = points(0, 3, 8, 5), points(1, 3, 8, 6), points(2, 3, 4, 5), points(3, 3, 4, 6)
    mine = loss(f, g, s, t, shift)
    assert mine.item() == pytest.approx(naive_loss(f, g, s, t, shift), abs=1e-10)
    single = loss(f.float(), g.float(), s.float(), t.float(), shift)
    assert single.item() == pytest.approx(naive_loss(f, g, s, t, shift), abs=1e-5)


def test_gradient_is_the_loop_s_by_finite_differences() -> None:
    f, g, s, t = points(0, 1, 6, 3), points(1, 1, 6, 4), points(2, 1, 3, 3).requires_grad_(), points(3, 1, 3, 4)
    loss(f, g, s, t, 0.1).backward()
    assert s.grad is not None
    step = 1e-6
    for channel in range(3):
        for point in range(3):
            values = []
            for sign in (1, -1):
                moved = s.detach().clone()
                moved[0, channel, point] += sign * step
                values.append(naive_loss(f, g, moved, t, 0.1))
            assert s.grad[0, channel, point].item() == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-6)


def test_no_gradient_reaches_the_features() -> None:
    f, s = points(0, 2, 6, 4).requires_grad_(), points(1, 2, 3, 4).requires_grad_()
    loss(f, f, s, s, 0.1).backward()
    assert f.grad is None
    assert s.grad is not None


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_centring_keeps_the_overall_mean_and_levels_the_rows(seed: int, batch: int, n: int, m: int) -> None:
    raw = correspondence(points(seed, batch, 5, n), points(seed + 1, batch, 5, m))
    centred = spatially_centred(raw)
    assert centred.mean().item() == pytest.approx(raw.mean().item(), abs=1e-9)
    rows = centred.mean(dim=2)
    torch.testing.assert_close(rows, torch.full_like(rows, raw.mean().item()), atol=1e-9, rtol=0)
    differences = centred[:, :, :1] - centred
    torch.testing.assert_close(differences, raw[:, :, :1] - raw, atol=1e-9, rtol=0)


@given(st.integers(0, 10_000), st.floats(0.1, 50))
@settings(max_examples=30, deadline=None)
def test_correspondence_is_bounded_and_blind_to_length(seed: int, scale: float) -> None:
    f, g = points(seed, 2, 5, 4), points(seed + 1, 2, 5, 3)
    raw = correspondence(f, g)
    assert raw.abs().max().item() <= 1 + 1e-9
    torch.testing.assert_close(correspondence(f * scale, g), raw, atol=1e-9, rtol=0)


def test_orthogonal_and_opposite_codes_cost_the_same() -> None:
    f = points(0, 1, 6, 1)
    code = torch.tensor([[[1.0], [0.0]]], dtype=torch.float64)
    costs = [loss(f, -f, code, torch.tensor([[[x], [y]]], dtype=torch.float64), 0.5).item() for x, y in ((0.0, 1.0), (-1.0, 0.0), (1.0, 0.0))]
    assert costs[0] == costs[1] == 0
    assert costs[2] == pytest.approx(1.5)  # agreement -1, shift .5, similarity 1
