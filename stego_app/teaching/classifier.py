"""From labelled patches and unlabelled ones to a classifier of patches, and to a segmenter's clusters."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.cluster.hierarchy import linkage
from torch import nn

from models.head import SegmentationHead
from stego_app.clusters import ClusterModel
from stego_app.teaching.prototypes import PrototypeClassifier, class_means, fit_prototypes

PSEUDO_LABELS = 6_000
"""Unlabelled patches learnt from beside one labelled image; the more images are labelled, the fewer in proportion."""
_SURE = 0.5
"""Share of each class's patches, the surest, that are learnt from."""


def fit_classifier(
    clusters: ClusterModel, tokens: torch.Tensor, labels: torch.Tensor, unlabelled: torch.Tensor, classes: int, images: int, seed: int
) -> PrototypeClassifier:
    """Fit to the labels; then once more with the surest of the ``unlabelled`` patches under the labels found for them.

    Which those are is decided together with their fine clusters, see `with_its_cluster`.

    Args:
        clusters: of the segmenter that is taught; gives the metric and the fine clusters.
        tokens: (n, C) of labelled patches or pixels.
        labels: (n,) int64, 0 to ``classes`` - 1, each at least once.
        unlabelled: (m, C) tokens of any images; m may be 0.
        classes: K.
        images: how many are labelled.
        seed: of the draw among the surest.
    """
    points = clusters.project(tokens).clone()  # a copy: tensors of inference mode cannot be learnt from
    means = class_means(points, labels, classes)
    fitted = fit_prototypes(points, labels, means)
    wanted = PSEUDO_LABELS // max(1, images)
    if len(unlabelled) == 0 or wanted == 0:
        return fitted
    others = clusters.project(unlabelled).clone()
    answers = torch.softmax(fitted.logits(others), dim=1)
    leaves = clusters.fine_logits(unlabelled).argmax(dim=1)
    sureness, found = with_its_cluster(answers, leaves, len(clusters.fine)).max(dim=1)
    chosen = _surest(sureness, found, classes)
    drawn = chosen[torch.randperm(len(chosen), generator=torch.Generator().manual_seed(seed))[:wanted]]
    return fit_prototypes(torch.cat([points, others[drawn]]), torch.cat([labels, found[drawn]]), means)


def with_its_cluster(answers: torch.Tensor, leaves: torch.Tensor, fine: int) -> torch.Tensor:
    """Answers (m, K), distributions over classes, times the mean answer of each patch's fine cluster ``leaves`` (m,), normalised.

    What training without labels took for one thing is hardly two.
    """
    total = torch.zeros(fine, answers.shape[1]).index_add_(0, leaves, answers)
    joint = answers * (total / total.sum(1, keepdim=True).clamp(min=1e-9))[leaves]
    return joint / joint.sum(1, keepdim=True).clamp(min=1e-9)


def _surest(sureness: torch.Tensor, found: torch.Tensor, classes: int) -> torch.Tensor:
    """Indices of the `_SURE` share of each class's patches with the largest sureness."""
    parts = []
    for label in range(classes):
        own = torch.nonzero(found == label)[:, 0]
        parts.append(own[sureness[own].argsort(descending=True)[: math.ceil(_SURE * len(own))]])
    return torch.cat(parts)


def taught_clusters(clusters: ClusterModel, classifier: PrototypeClassifier, tokens: torch.Tensor, labels: torch.Tensor) -> ClusterModel:
    """Clusters whose leaves are the classes, in their order: the head gives the classifier's logits, each class has an axis of its own.

    Codes are normalised, which changes no decision, and the temperature at which ``labels`` of ``tokens`` are predicted best is taken.
    The tree joins classes by the mean cosine of their weights, so that there are coarser cuts too.
    """
    count, dim = classifier.weight.shape
    head = SegmentationHead(dim, count)
    with torch.no_grad():
        for layer in head.nonlinear:
            if isinstance(layer, nn.Linear):
                layer.weight.zero_()
                layer.bias.zero_()
        # A head is given tokens of length sqrt(D).
        head.linear.weight.copy_(classifier.logits(torch.eye(dim)).sub(classifier.bias).T / math.sqrt(dim))
        head.linear.bias.copy_(classifier.bias)
    merges = (
        linkage(classifier.weight.numpy().astype(np.float64), "average", metric="cosine")[:, :2].astype(np.int64) if count > 1 else np.zeros((0, 2), np.int64)
    )
    return ClusterModel(clusters.mean, clusters.metric, head.eval(), torch.eye(count), 1.0, merges, count).calibrated(tokens, labels)
