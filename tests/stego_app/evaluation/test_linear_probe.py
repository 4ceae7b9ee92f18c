"""The linear probe against scikit-learn, torch's own interpolation, and data whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import interpolate

from models.errors import StegoError
from stego_app.evaluation.linear_probe import ProbePoints, fit_linear_probe, tokens_at


def blobs(n: int, classes: int, dim: int, seed: int, spread: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of Gaussian classes with different scales and offsets a channel."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, dim))
    labels = random.integers(0, classes, n)
    points = (centres[labels] + spread * random.normal(size=(n, dim))) * random.uniform(0.1, 30, dim) + random.normal(size=dim) * 10
    return torch.from_numpy(points).float(), torch.from_numpy(labels)


def test_probe_against_scikit_learn() -> None:
    tokens, labels = blobs(3000, 4, 10, 0)
    l2 = 1e-3
    probe = fit_linear_probe(tokens, labels, 4, l2=l2)
    standard = ((tokens - tokens.mean(0)) / tokens.std(0, correction=0)).numpy().astype(np.float64)
    # scikit-learn minimises the sum of cross-entropies + ‖w‖² / (2 C); ours is the mean
    independent = LogisticRegression(C=1 / (l2 * len(tokens)), tol=1e-8, max_iter=2000).fit(standard, labels.numpy())
    np.testing.assert_allclose(probe.weight.numpy().T, independent.coef_, atol=2e-3)
    probabilities = torch.softmax(probe.logits(tokens), dim=1).numpy()
    np.testing.assert_allclose(probabilities, independent.predict_proba(standard), atol=2e-3)
    assert (probabilities.argmax(1) == independent.predict(standard)).mean() > 0.999


def test_probe_of_separable_classes_is_right_on_new_points() -> None:
    tokens, labels = blobs(4000, 5, 16, 1, spread=0.15)
    probe = fit_linear_probe(tokens[:2000], labels[:2000], 5)
    assert (probe.logits(tokens[2000:]).argmax(1) == labels[2000:]).float().mean() > 0.99


def test_probe_is_at_the_optimum_and_repeats_exactly() -> None:
    tokens, labels = blobs(500, 3, 6, 2)
    first, second = fit_linear_probe(tokens, labels, 3), fit_linear_probe(tokens, labels, 3)
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)
    weight = first.weight.clone().requires_grad_()
    standard = (tokens - first.mean) / first.scale
    loss = torch.nn.functional.cross_entropy(standard @ weight + first.bias, labels) + 1e-4 / 2 * weight.square().sum()
    (gradient,) = torch.autograd.grad(loss, weight)
    assert gradient.abs().max() < 1e-4


def test_probe_with_a_constant_channel_and_an_absent_class() -> None:
    tokens, labels = blobs(400, 3, 5, 3, spread=0.2)
    tokens[:, 2] = 7.0
    probe = fit_linear_probe(tokens, labels, 6)
    found = probe.logits(tokens).argmax(1)
    assert torch.isfinite(probe.weight).all()
    assert set(found.tolist()) <= {0, 1, 2}
    assert (found == labels).float().mean() > 0.95


@pytest.mark.parametrize(("grid", "size"), [((3, 5), (42, 70)), ((4, 4), (17, 31)), ((1, 1), (5, 6)), ((6, 7), (4, 5))])
def test_upsampled_tokens_against_torch(grid: tuple[int, int], size: tuple[int, int]) -> None:
    tokens = torch.randn(grid[0] * grid[1], 8, generator=torch.Generator().manual_seed(0))
    whole = interpolate(tokens.T.reshape(1, 8, *grid), size=size, mode="bilinear", align_corners=False)[0]
    rows, columns = (part.flatten() for part in torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij"))
    torch.testing.assert_close(tokens_at(tokens, grid, size, rows, columns), whole.flatten(1).T, atol=1e-5, rtol=1e-5)


def test_prediction_upsamples_logits_which_is_the_same_as_classifying_upsampled_tokens() -> None:
    tokens, labels = blobs(600, 4, 6, 4)
    probe = fit_linear_probe(tokens, labels, 4)
    grid, size = (5, 4), (35, 30)
    part = tokens[:20]
    rows, columns = (axis.flatten() for axis in torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij"))
    expected = probe.logits(tokens_at(part, grid, size, rows, columns)).argmax(1).reshape(size).numpy()
    found = probe.predict(part, grid, size)
    assert found.shape == size
    assert (found == expected).mean() > 0.995  # rounding may tip exact ties


def test_points_are_drawn_evenly_without_void_and_by_seed() -> None:
    label = np.full((20, 30), 255, dtype=np.uint8)
    label[5:15, 5:25] = np.arange(200, dtype=np.uint8).reshape(10, 20) % 3
    tokens = torch.arange(6, dtype=torch.float32)[:, None].expand(6, 2)
    drawn = []
    for seed in (0, 0, 1):
        points = ProbePoints(images=2, classes=3, seed=seed, points=100)
        points.add(tokens, (2, 3), label)
        points.add(tokens, (2, 3), np.full((20, 30), 255, dtype=np.uint8))  # nothing but void
        assert [len(part) for part in points._labels] == [50, 0]
        assert points._labels[0].max() < 3
        drawn.append(points._tokens[0])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_probe_learns_a_map_from_its_points() -> None:
    """Tokens that are one-hot for the class of their patch, upsampled: every pixel away from borders is predicted right."""
    random = np.random.default_rng(0)
    points = ProbePoints(images=4, classes=3, points=2000)
    for _ in range(4):
        classes = random.integers(0, 3, (4, 6))
        label = np.kron(classes, np.ones((8, 8))).astype(np.uint8)
        points.add(torch.eye(3)[torch.from_numpy(classes).flatten()], (4, 6), label)
    probe = points.fit()
    classes = random.integers(0, 3, (4, 6))
    found = probe.predict(torch.eye(3)[torch.from_numpy(classes).flatten()], (4, 6), (32, 48))
    np.testing.assert_array_equal(found[4::8, 4::8], classes)


def test_probe_without_points() -> None:
    with pytest.raises(StegoError, match="no labelled pixel"):
        ProbePoints(images=1, classes=2).fit()
    with pytest.raises(StegoError, match="no labelled pixel"):
        fit_linear_probe(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), 2)
