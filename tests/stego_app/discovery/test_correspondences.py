from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from stego_app.discovery.correspondences import adjacent_links, cross_image_links, pair_distribution, same_image_pairs


def test_cross_image_links_match_a_loop_over_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stego_app.discovery.correspondences._CHUNK", 17)
    random = np.random.default_rng(0)
    tokens = normalize(torch.from_numpy(random.normal(size=(60, 4))).float(), dim=1)
    image, codes = random.integers(5, size=60), torch.from_numpy(random.integers(7, size=60))
    expected, linked = np.zeros((9, 9)), 0
    for i in range(60):
        near = [j for j in range(60) if j != i and float(tokens[i] @ tokens[j]) >= 0.6]
        elsewhere = [j for j in near if image[i] != image[j]]
        linked += bool(elsewhere)
        partners = elsewhere or near
        for j in partners:
            expected[codes[i], codes[j]] += 1 / len(partners)
    links = cross_image_links(tokens, image, codes, 9, 0.6)
    np.testing.assert_allclose(links.counts, expected, atol=1e-6)
    assert links.linked == pytest.approx(linked / 60)


def test_each_patch_with_partners_spreads_one_unit() -> None:
    tokens = normalize(torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    links = cross_image_links(tokens, np.arange(40) % 4, torch.arange(40) % 6, 6, 0.5)
    near = (tokens @ tokens.T).numpy() >= 0.5
    assert links.counts.sum() == pytest.approx((near.sum(1) > 1).sum(), rel=1e-5)


def test_patches_look_inside_their_image_only_without_partners_elsewhere() -> None:
    tokens, image = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), np.array([0, 0, 1, 1, 1])
    links = cross_image_links(tokens, image, torch.arange(5), 5, 0.9)
    expected = [[0, 0, 1, 0, 0], [0, 0, 1, 0, 0], [0.5, 0.5, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0]]
    np.testing.assert_allclose(links.counts, expected, atol=1e-6)
    assert links.linked == pytest.approx(3 / 5)


def test_adjacent_links_match_a_loop() -> None:
    random = np.random.default_rng(1)
    grids = [random.integers(4, size=(3, 5)), random.integers(4, size=(2, 2))]
    expected = np.zeros((4, 4))
    for grid in grids:
        for row in range(grid.shape[0]):
            for column in range(grid.shape[1]):
                if row:
                    expected[grid[row, column], grid[row - 1, column]] += 1
                if column:
                    expected[grid[row, column], grid[row, column - 1]] += 1
    np.testing.assert_array_equal(adjacent_links(grids, 4), expected)


def test_pair_distribution_is_a_symmetric_distribution_weighted_as_asked() -> None:
    random = np.random.default_rng(2)
    cross, adjacent = random.random((5, 5)), random.random((5, 5))
    joint = pair_distribution(cross, adjacent, 0.5)
    np.testing.assert_allclose(joint, joint.T)
    assert joint.sum() == pytest.approx(1)
    expected = cross / cross.sum() + 0.5 * adjacent / adjacent.sum()
    np.testing.assert_allclose(joint, (expected + expected.T) / 3, atol=1e-6)


def test_pair_distribution_without_any_pair_stays_positive() -> None:
    assert (pair_distribution(np.zeros((3, 3)), np.zeros((3, 3)), 0.3) > 0).all()


def test_pairs_of_one_image_match_a_loop_over_pairs() -> None:
    random = np.random.default_rng(4)
    grids = [random.integers(5, size=shape) for shape in ((2, 3), (1, 1), (4, 2))]
    expected = np.zeros((6, 6))
    for grid in grids:
        codes = grid.ravel()
        pairs = [(a, b) for a in range(len(codes)) for b in range(len(codes)) if a != b]
        for a, b in pairs:
            expected[codes[a], codes[b]] += 1 / len(pairs) / 2  # two images have a pair at all
    np.testing.assert_allclose(same_image_pairs(grids, 6), expected, atol=1e-12)
    assert not same_image_pairs(grids[1:2], 6).any()
    assert not same_image_pairs([], 6).any()
