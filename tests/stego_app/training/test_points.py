"""Sampling of features against torch's grid_sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stego_app.training.points import bilinear, derangement, feature_points, random_positions


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_bilinear_equals_grid_sample(height: int, width: int, seed: int) -> None:
    tokens = np.random.default_rng(seed).normal(size=(height * width, 5)).astype(np.float16)
    positions = random_positions(1, 9, torch.Generator().manual_seed(seed))
    positions[0, :4] = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [1.0, -1.0], [0.0, 0.0]])
    image = torch.from_numpy(tokens.astype(np.float32)).T.reshape(1, 5, height, width)
    expected = torch.nn.functional.grid_sample(image, positions[:, None], padding_mode="border", align_corners=True)[0, :, 0].T
    torch.testing.assert_close(bilinear(tokens, (height, width), positions[0]), expected, atol=1e-5, rtol=1e-5)


def test_corners_are_the_corner_patches(clustered_cache: Callable[..., Any]) -> None:
    cache, _ = clustered_cache()
    corners = torch.tensor([[[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]]])
    found = feature_points(cache, [2], corners)[0]
    np.testing.assert_allclose(found, cache.tokens(2)[[0, 9, 70, 79]].astype(np.float32), rtol=1e-6)


@given(st.integers(2, 40), st.integers(0, 1000))
def test_no_image_meets_itself(count: int, seed: int) -> None:
    order = derangement(count, torch.Generator().manual_seed(seed))
    assert (order != torch.arange(count)).all()
    assert order.min() >= 0
    assert order.max() < count
