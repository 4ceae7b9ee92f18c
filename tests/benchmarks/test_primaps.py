"""PriMaPs-EM against naive computations and on regions whose classes are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from token_source import best_accuracy, regions

from benchmarks.peers.primaps import NO_MASK, principal_direction, principal_masks
from benchmarks.peers.primaps_em import PrimapsSettings, Prototypes, all_masks, fit_primaps, focal_loss, majority_in_masks, start_directions


@pytest.mark.parametrize(("patches", "dim"), [(60, 7), (9, 20)])
def test_principal_direction_is_the_first_component_of_pca(patches: int, dim: int) -> None:
    tokens = np.random.default_rng(0).normal(size=(patches, dim)).astype(np.float32) * np.linspace(1, 3, dim, dtype=np.float32) + 5
    expected = PCA(n_components=1, svd_solver="full").fit(tokens.astype(np.float64)).components_[0]
    assert abs(principal_direction(tokens) @ expected) == pytest.approx(1, abs=1e-4)


def naive_masks(tokens: npt.NDArray[np.float32], threshold: float, coverage: float) -> list[int]:
    """The definition with loops, a full SVD and no subset of arrays."""
    unit = [token / np.linalg.norm(token) for token in tokens.astype(np.float64)]
    masks = [-1] * len(unit)
    number = 0
    while sum(mask >= 0 for mask in masks) < coverage * len(masks):
        left = [index for index, mask in enumerate(masks) if mask < 0]
        points = np.array([unit[index] for index in left])
        direction = np.linalg.svd(points - points.mean(axis=0))[2][0]
        seed = max(left, key=lambda index: abs(float(unit[index] @ direction)))
        top = max(float(unit[index] @ unit[seed]) for index in left)
        for index in left:
            if float(unit[index] @ unit[seed]) >= threshold * top:
                masks[index] = number
        number += 1
    return masks


@pytest.mark.parametrize("seed", range(4))
def test_masks_are_those_of_the_definition(seed: int) -> None:
    source, _ = regions(1, (6, 8), 3, 12, 0.15, seed)
    assert principal_masks(source.tokens(0)).tolist() == naive_masks(source.tokens(0), 0.4, 0.95)


def test_masks_find_orthogonal_regions() -> None:
    source, labels = regions(1, (8, 12), 4, 16, 0.05, 1)
    masks = principal_masks(source.tokens(0), coverage=1.0)
    assert sorted(set(masks.tolist())) == [0, 1, 2, 3]
    for number in range(4):
        assert len(set(labels[0][masks == number].tolist())) == 1


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 1000), st.floats(0.1, 1.0), st.floats(0.1, 1.0))
def test_masks_always_reach_the_coverage(patches: int, dim: int, seed: int, threshold: float, coverage: float) -> None:
    tokens = np.random.default_rng(seed).normal(size=(patches, dim)).astype(np.float32)
    masks = principal_masks(tokens, threshold, coverage)
    assert (masks != NO_MASK).mean() >= coverage - 1e-9
    found = masks[masks != NO_MASK]
    assert set(found.tolist()) == set(range(int(found.max()) + 1))


def test_equal_patches_are_one_mask() -> None:
    assert principal_masks(np.ones((20, 5), np.float32)).tolist() == [0] * 20


def test_a_mask_takes_its_most_frequent_class() -> None:
    said = torch.tensor([2, 2, 1, 0, 0, 1, 2])
    masks = torch.tensor([0, 0, 0, 1, 1, 1, NO_MASK])
    assert majority_in_masks(said, masks, 3).tolist() == [2, 2, 2, 0, 0, 0, NO_MASK]


def test_focal_loss_is_its_formula() -> None:
    logits = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 3, NO_MASK, 1, NO_MASK, 0])
    probability = logits.double().softmax(1).numpy()
    confidence = probability.mean(axis=0)
    terms = [-((1 - confidence[label]) ** 2) * np.log(probability[row, label]) for row, label in enumerate(labels.tolist()) if label >= 0]
    assert float(focal_loss(logits, labels, 2.0)) == pytest.approx(np.mean(terms), rel=1e-5)


def test_prototypes_see_direction_and_gain_only() -> None:
    draw = torch.Generator().manual_seed(0)
    direction, gain, tokens = torch.randn(3, 6, generator=draw), torch.tensor([1.0, 2.0, 0.5]), torch.randn(5, 6, generator=draw)
    logits = Prototypes(direction, gain).logits(tokens)
    for row in range(5):
        for kind in range(3):
            cosine = float(tokens[row] @ direction[kind] / tokens[row].norm() / direction[kind].norm())
            assert float(logits[row, kind]) == pytest.approx(cosine * float(gain[kind]) * 6**0.5, rel=1e-4)


def test_start_directions_are_orthogonal_components() -> None:
    source, _ = regions(3, (6, 6), 3, 10, 0.2, 0)
    found = start_directions(source, 3, PrimapsSettings(), 0)
    tokens = np.concatenate(source.images)
    expected = PCA(n_components=3, svd_solver="full").fit(tokens / np.linalg.norm(tokens, axis=1, keepdims=True)).components_
    assert np.abs(np.diag(found.numpy() @ expected.T)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("start", ["principal", "kmeans"])
def test_expectation_maximisation_finds_the_regions(start: str) -> None:
    source, labels = regions(8, (6, 9), 3, 12, 0.1, 2)
    options = PrimapsSettings(start=start, batch=4, init_least=60, epochs=30)  # type: ignore[arg-type]
    prototypes = fit_primaps(source, all_masks(source, options), 3, options, seed=0)
    said = np.concatenate([prototypes.logits(torch.from_numpy(image)).argmax(1).numpy() for image in source.images])
    assert best_accuracy(said, np.concatenate(labels), 3) > 0.98


def test_the_same_seed_gives_the_same_prototypes() -> None:
    source, _ = regions(4, (5, 6), 3, 8, 0.1, 3)
    options = PrimapsSettings(batch=2, init_least=5, epochs=6)
    first, again = (fit_primaps(source, all_masks(source, options), 3, options, seed=1) for _ in range(2))
    assert torch.equal(first.direction, again.direction)
    assert torch.equal(first.gain, again.gain)
