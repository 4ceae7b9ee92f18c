"""The classifier that stays near class means, against SciPy and its own limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.nn.functional import normalize

from models.head import SegmentationHead
from stego_app.clusters import ClusterModel
from stego_app.teaching.classifier import PSEUDO_LABELS, fit_classifier, taught_clusters, with_its_cluster
from stego_app.teaching.prototypes import PULL, SHARPNESS, class_means, fit_prototypes


def blobs(count: int, spread: float, seed: int = 0, dim: int = 6, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit points around ``classes`` axes, and their classes."""
    torch.manual_seed(seed)
    labels = torch.arange(count) % classes
    return normalize(torch.eye(dim)[labels] + spread * torch.randn(count, dim), dim=1), labels


def test_means_are_unit_and_of_their_class() -> None:
    points, labels = blobs(30, 0.3)
    means = class_means(points, labels, 3)
    for label in range(3):
        torch.testing.assert_close(means[label], normalize(points[labels == label].mean(0), dim=0))


def test_the_fit_is_the_minimum_that_scipy_finds() -> None:
    points, labels = blobs(40, 0.6, classes=3)
    labels[:15] = 0  # classes of different sizes
    means = class_means(points, labels, 3)
    found = fit_prototypes(points, labels, means)
    x, y, m = points.double().numpy(), labels.numpy(), means.double().numpy()
    weights = 1 / np.sqrt(np.bincount(y))
    weights = weights[y] / weights[y].mean()

    def loss(values: np.ndarray) -> float:
        weight, bias = values[:18].reshape(3, 6), values[18:]
        logits = SHARPNESS * x @ weight.T + bias
        chosen = logits[np.arange(len(y)), y] - np.log(np.exp(logits).sum(1))
        return float(-(weights * chosen).mean() + PULL * (((weight - m) ** 2).sum() + (bias**2).sum()))

    best = minimize(loss, np.concatenate([m.ravel(), np.zeros(3)]), method="BFGS", options={"gtol": 1e-8})
    ours = np.concatenate([found.weight.numpy().ravel(), found.bias.numpy()]).astype(np.float64)
    assert loss(ours) == pytest.approx(best.fun, rel=1e-3)
    np.testing.assert_allclose(ours, best.x, atol=0.02)


def clusters_of(dim: int = 6, fine: int = 6) -> ClusterModel:
    """Clusters whose metric changes nothing and whose codes are the points themselves."""
    head = SegmentationHead(dim, dim)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.linear.weight.copy_(torch.eye(dim))
    merges = np.array([[0, 1], *[[fine + row, row + 2] for row in range(fine - 2)]])
    return ClusterModel(torch.zeros(dim), torch.eye(dim), head.eval(), torch.eye(dim)[:fine], 0.1, merges, 3)


def test_taught_clusters_decide_as_the_classifier_does_and_coarser_cuts_are_nested() -> None:
    points, labels = blobs(60, 0.4)
    classifier = fit_prototypes(points, labels, class_means(points, labels, 3))
    model = taught_clusters(clusters_of(), classifier, points, labels)
    others, _ = blobs(200, 0.8, seed=5)
    assert model.class_probabilities(others).argmax(1).tolist() == classifier.logits(others).argmax(1).tolist()
    assert model.class_probabilities(others, 2).shape == (200, 2)


def test_a_patch_is_decided_with_its_cluster() -> None:
    answers = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.45, 0.55], [0.4, 0.6]])
    together = with_its_cluster(answers, torch.tensor([0, 0, 0, 1]), 3)
    mean = answers[:3].mean(0)
    for row in range(3):
        torch.testing.assert_close(together[row], answers[row] * mean / (answers[row] * mean).sum())
    assert together.argmax(1).tolist() == [0, 0, 0, 1]  # the third alone would be of the other class
    torch.testing.assert_close(together.sum(1), torch.ones(4))


def test_unlabelled_patches_are_learnt_from_the_less_the_more_is_labelled() -> None:
    points, labels = blobs(90, 0.5)
    others, _ = blobs(900, 0.5, seed=3)
    alone = fit_classifier(clusters_of(), points, labels, others[:0], 3, 1, 0)
    apart = [
        float((fit_classifier(clusters_of(), points, labels, others, 3, images, 0).weight - alone.weight).norm()) for images in (1, 100, PSEUDO_LABELS + 1)
    ]
    assert apart[0] > apart[1] > apart[2] == 0
