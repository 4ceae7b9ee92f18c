"""What the fine clusters of a segmenter look like to its backbone: a mean patch each, kept in its file so that they can be named without the images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize

from stego_app.classes import ClassTable
from stego_app.clusters import ClusterModel
from stego_app.discovery.codebook import sum_by_code

_PART = 16_384


def cluster_prototypes(clusters: ClusterModel, tokens: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The mean unit token (F, C) of the patches nearest to each fine cluster, among ``tokens`` (n, C); zeros where none is nearest."""
    total = torch.zeros(len(clusters.fine), tokens.shape[1])
    counts = torch.zeros(len(clusters.fine))
    for part in torch.split(torch.from_numpy(tokens), _PART):
        nearest = clusters.fine_logits(part).argmax(dim=1)
        total += sum_by_code(normalize(part, dim=1), nearest, len(total))
        counts += torch.bincount(nearest, minlength=len(total))
    prototypes: npt.NDArray[np.float32] = (total / counts.clamp(min=1)[:, None]).numpy()
    return prototypes


def class_prototypes(prototypes: npt.NDArray[np.float32], shares: npt.NDArray[np.float64], table: ClassTable) -> npt.NDArray[np.float32]:
    """The mean unit token (K, C) of each class of ``table``: its leaves' ``prototypes`` (F, C), weighted by their ``shares`` (F,)."""
    rows = [_weighted(prototypes[list(entry.leaves)], shares[list(entry.leaves)]) for entry in table.classes]
    return np.stack(rows) if rows else np.empty((0, prototypes.shape[1]), np.float32)


def _weighted(rows: npt.NDArray[np.float32], weights: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    mean: npt.NDArray[np.float32] = (np.asarray(weights, np.float64) @ rows / max(float(np.sum(weights)), np.finfo(np.float64).tiny)).astype(np.float32)
    return mean
