from __future__ import annotations

import numpy as np
import pytest
import torch

from models.errors import StegoError
from stego_app.discovery.spectral import Matrix, Spectrum, cluster_codes, spectral_codes, spectrum


def random_pairs(size: int, seed: int) -> Matrix:
    counts = np.random.default_rng(seed).gamma(0.5, size=(size, size)) + np.eye(size)
    joint = counts + counts.T
    return np.asarray(joint / joint.sum())


def naive_loss(pairs: Matrix, codes: Matrix) -> float:
    """-2 E_positive <z, z'> + E_random <z, z'>^2, a pair at a time."""
    share, total = pairs.sum(1), 0.0
    for i in range(len(pairs)):
        for j in range(len(pairs)):
            product = float(codes[i] @ codes[j])
            total += -2 * pairs[i, j] * product + share[i] * share[j] * product**2
    return total


def minimiser(found: Spectrum, dimensions: int) -> Matrix:
    """The closed form: V sqrt(max(lambda, 0)) / sqrt(d)."""
    scaled = found.vectors[:, :dimensions] * np.sqrt(np.maximum(found.values[:dimensions], 0))
    return np.asarray(scaled / np.sqrt(found.degrees)[:, None])


def test_spectral_codes_span_the_minimiser() -> None:
    found = spectrum(random_pairs(9, 3))
    rows, closed = spectral_codes(found, 3), minimiser(found, 3)
    scale = np.sqrt(np.maximum(found.values[:3], 0))
    expected = closed / scale
    np.testing.assert_allclose(rows, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_closed_form_equals_the_minimum_found_by_gradient_descent(seed: int) -> None:
    pairs = random_pairs(9, seed)
    closed = naive_loss(pairs, minimiser(spectrum(pairs), 3))
    joint, share = torch.from_numpy(pairs), torch.from_numpy(pairs.sum(1))
    best = np.inf
    for start in range(3):
        codes = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(start)).requires_grad_()
        optimiser = torch.optim.LBFGS([codes], lr=0.5, max_iter=500, line_search_fn="strong_wolfe")

        def closure(codes: torch.Tensor = codes, optimiser: torch.optim.LBFGS = optimiser) -> torch.Tensor:
            optimiser.zero_grad()
            products = codes @ codes.T
            loss = -2 * (joint * products).sum() + (torch.outer(share, share) * products**2).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimiser.step(closure)  # type: ignore[no-untyped-call]
        best = min(best, float(closure().detach()))
    assert closed == pytest.approx(best, abs=1e-6)
    assert closed <= best + 1e-9


def test_spectral_codes_are_unit_rows_and_the_spectrum_is_ordered() -> None:
    found = spectrum(random_pairs(12, 4))
    np.testing.assert_allclose(np.linalg.norm(spectral_codes(found, 4), axis=1), 1)
    assert (np.diff(found.values) <= 1e-12).all()
    assert found.values[0] == pytest.approx(1)


def naive_image_loss(pairs: Matrix, same_image: Matrix, weight: float, codes: Matrix) -> float:
    """The loss above with patches of one image counting against being alike, a pair at a time; both distributions have the same margins."""
    share, total = pairs.sum(1), 0.0
    for i in range(len(pairs)):
        for j in range(len(pairs)):
            product = float(codes[i] @ codes[j])
            total += -2 * (pairs[i, j] - weight * (same_image[i, j] - share[i] * share[j])) * product + share[i] * share[j] * product**2
    return total


def test_with_an_image_weight_it_minimises_that_loss() -> None:
    random, size, weight = np.random.default_rng(5), 7, 0.4
    pairs = random_pairs(size, 6)
    share = pairs.sum(1)
    # Another distribution with the margins of the first: its products, moved along four corners that cancel out in rows and columns.
    same_image = np.outer(share, share)
    same_image[0, 1] += 0.004
    same_image[1, 0] += 0.004
    same_image[[0, 1], [0, 1]] -= 0.004
    found = spectrum(pairs, same_image, weight)
    closed = naive_image_loss(pairs, same_image, weight, minimiser(found, 3))
    for _ in range(50):
        moved = minimiser(found, 3) + random.normal(scale=0.05, size=(size, 3))
        assert naive_image_loss(pairs, same_image, weight, moved) >= closed - 1e-9
    assert closed < naive_image_loss(pairs, same_image, weight, minimiser(spectrum(pairs), 3)) - 1e-6


def test_codes_without_patches_in_any_of_the_images_are_left_as_they_are() -> None:
    pairs, same_image = random_pairs(6, 7), random_pairs(6, 8)
    same_image[4] = same_image[:, 4] = 0
    same_image /= same_image.sum()
    found = spectrum(pairs, same_image, 0.5)
    assert np.isfinite(found.vectors).all()
    degrees = pairs.sum(1)
    rebuilt = found.vectors * found.values @ found.vectors.T
    np.testing.assert_allclose(rebuilt[4], (pairs / np.sqrt(np.outer(degrees, degrees)))[4], atol=1e-12)


def block_pairs() -> Matrix:
    """Three groups of four codes that correspond within their group only, but for a little."""
    joint = np.kron(np.eye(3), np.ones((4, 4))) + 0.01
    return np.asarray(joint / joint.sum())


def test_separate_groups_of_codes_become_classes() -> None:
    found = spectrum(block_pairs())
    labels = cluster_codes(spectral_codes(found, 3), found.degrees, 3, seed=0)
    assert [len(set(labels[start : start + 4])) for start in (0, 4, 8)] == [1, 1, 1]
    assert len(set(labels)) == 3


def test_more_classes_than_distinct_codes_is_an_error_that_says_how_many() -> None:
    codes = np.repeat(np.eye(3), 4, axis=0)
    with pytest.raises(StegoError, match="at most 3"):
        cluster_codes(codes, np.ones(12), 5, seed=0)
