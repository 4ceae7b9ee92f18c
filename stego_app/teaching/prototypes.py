"""A classifier from few labelled patches: logistic regression that stays near the classes' mean directions.

In the metric of a segmenter, in which views of one point look alike, the mean direction of a class is already a good classifier
(nearest class mean after within-class whitening; Snell et al., Prototypical Networks, NeurIPS 2017, section 2.3). With one labelled
image a free linear probe is worse than that, with twenty better; pulling the weights towards the means gives the better of the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy, normalize

SHARPNESS = 10.0
"""Factor on cosines inside the softmax."""
PULL = 0.01
"""Weight of the squared distance of the weights from the means, beside the mean cross-entropy. The same for any number of labels."""
_ITERATIONS = 60


@dataclass(frozen=True)
class PrototypeClassifier:
    """``softmax(SHARPNESS · points @ weight.T + bias)``: weight (K, D), bias (K,), float32."""

    weight: torch.Tensor
    bias: torch.Tensor

    def logits(self, points: torch.Tensor) -> torch.Tensor:
        """(n, K) of unit points (n, D)."""
        return SHARPNESS * (points @ self.weight.T) + self.bias


def class_means(points: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Unit mean direction (K, D) of each class among unit ``points`` (n, D)."""
    return normalize(torch.zeros(classes, points.shape[1]).index_add_(0, labels, points), dim=1)


def fit_prototypes(points: torch.Tensor, labels: torch.Tensor, means: torch.Tensor) -> PrototypeClassifier:
    """Minimise mean cross-entropy + `PULL` · (‖weight − means‖² + ‖bias‖²) by L-BFGS, from the means.

    A point counts by the inverse root of its class's number of points, so that a rare class is heard but not trusted blindly.

    Args:
        points: (n, D) unit.
        labels: (n,) int64, 0 to K - 1.
        means: (K, D), see `class_means`.
    """
    counts = torch.bincount(labels, minlength=len(means)).float()
    importance = counts.clamp(min=1).rsqrt()
    importance = importance / importance[labels].mean()
    weight, bias = means.clone().requires_grad_(True), torch.zeros(len(means), requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        solver.zero_grad()
        terms = cross_entropy(SHARPNESS * (points @ weight.T) + bias, labels, reduction="none") * importance[labels]
        value = terms.mean() + PULL * ((weight - means).square().sum() + bias.square().sum())
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        solver.step(loss)  # type: ignore[no-untyped-call]
    return PrototypeClassifier(weight.detach(), bias.detach())
