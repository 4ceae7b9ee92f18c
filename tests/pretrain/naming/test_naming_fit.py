"""The fit of a bridge: against scikit-learn, on planted material, and its trial on held-out names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch.nn.functional import normalize

from models.text.bridge import Bridge
from pretrain.naming.calibrate import FOLDS, LIST, HeldOut, calibration_of, held_out_scores
from pretrain.naming.fit import RIDGE, Material, cells_of, fit_bridge, mixed_texts

NAMES, PER_NAME, WIDTH = 120, 4, 16


def planted(noise: float, seed: int = 0) -> Material:
    """Images whose patches are a fixed linear image of their name's sentence vector, and noise."""
    random = torch.Generator().manual_seed(seed)
    vocabulary = normalize(torch.randn(NAMES, WIDTH, generator=random), dim=1)
    names = np.repeat(np.arange(NAMES), PER_NAME)
    mixing = torch.randn(WIDTH, WIDTH, generator=random)
    cells = (vocabulary @ mixing)[names][:, None] + noise * torch.randn(len(names), 6, WIDTH, generator=random)
    return Material(normalize(cells, dim=2), vocabulary[torch.from_numpy(names)], names, vocabulary)


def fit(material: Material) -> Bridge:
    return fit_bridge(material, backbone="b", sentences="s", templates=("{}",))


def test_the_map_is_the_ridge_regression_of_scikit_learn() -> None:
    material = planted(1.0)
    bridge = fit(material)
    cells = material.cells.double().numpy()
    x = cells - cells.mean((0, 1))
    x /= np.linalg.norm(x, axis=2, keepdims=True)
    texts = material.texts.double().numpy()
    y = texts - texts.mean(0)
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    rows = x.reshape(-1, WIDTH)
    expected = Ridge(alpha=RIDGE * len(rows), fit_intercept=False).fit(rows, np.repeat(y, x.shape[1], axis=0)).coef_.T
    np.testing.assert_allclose(bridge.patch_map.numpy(), expected, rtol=1e-2, atol=1e-3)


def test_held_out_names_are_found_where_they_can_be_and_not_where_names_are_shuffled() -> None:
    material = planted(0.5)
    assert held_out_scores(material, fit).top1 > 0.8
    order = np.random.default_rng(0).permutation(NAMES)[material.names]
    shuffled = Material(material.cells, material.vocabulary[torch.from_numpy(order)], order, material.vocabulary)
    assert held_out_scores(shuffled, fit).top1 < 3 / LIST


def test_the_calibration_refuses_wrong_words_at_the_stated_rate_on_new_material() -> None:
    calibration = calibration_of(held_out_scores(planted(1.5), fit), rejection=0.8)
    assert calibration.rejection == pytest.approx(0.8, abs=0.01)
    fresh = held_out_scores(planted(1.5, seed=1), fit, seed=1)
    assert (fresh.wrong.max(1) <= calibration.threshold).mean() == pytest.approx(0.8, abs=0.1)
    assert calibration.acceptance > 1 - calibration.rejection  # a right word is taken more often than wrong ones are


def test_top1_weighs_names_alike() -> None:
    right = np.array([[2.0, 1.0], [2.0, 1.0], [2.0, 1.0], [0.0, 1.0]])
    assert HeldOut(right, right, np.array([5, 5, 5, 6])).top1 == 0.5


def test_every_image_is_held_out_once_at_least() -> None:
    held = held_out_scores(planted(1.0), fit)
    assert set(held.names) == set(range(NAMES))
    assert held.right.shape == held.wrong.shape
    assert held.right.shape[1] == min(LIST, NAMES // FOLDS - 1)


def test_cells_are_means_of_unit_tokens() -> None:
    tokens = np.random.default_rng(0).normal(size=(16 * 16, 5)).astype(np.float16)
    cells = cells_of(tokens, (16, 16)).reshape(8, 8, 5)
    unit = tokens.astype(np.float64) / np.linalg.norm(tokens.astype(np.float64), axis=1, keepdims=True)
    np.testing.assert_allclose(cells[3, 5].numpy(), unit.reshape(16, 16, 5)[6:8, 10:12].mean((0, 1)), atol=1e-5)


def test_broader_names_are_mixed_in_with_half_the_weight() -> None:
    vocabulary = normalize(torch.randn(2, 4), dim=1)
    wide = normalize(torch.randn(3, 4), dim=1)
    first, second = mixed_texts(vocabulary, np.array([1, 0]), [wide, None])
    expected = vocabulary[1] + 0.5 * normalize(wide.mean(0), dim=0)
    torch.testing.assert_close(first, expected / expected.norm())
    torch.testing.assert_close(second, vocabulary[0])
