"""Position whitening: a metric in which two views of one point look alike wherever they lie in the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize

from stego_app.discovery.crop_pairs import CropPairs


@dataclass(frozen=True)
class Metric:
    """``project``: ``normalise((normalise(token) - mean) @ matrix)``. mean (C,), matrix (C, C), float32."""

    mean: torch.Tensor
    matrix: torch.Tensor

    def project(self, tokens: npt.NDArray[np.floating] | torch.Tensor, chunk: int = 65_536) -> torch.Tensor:
        """Tokens (n, C) to unit vectors (n, C), float32."""
        # A copy, since the features of a cache are a read-only view of a file.
        given = tokens if isinstance(tokens, torch.Tensor) else torch.from_numpy(np.array(tokens))
        parts = [normalize((normalize(part.float(), dim=1) - self.mean) @ self.matrix, dim=1) for part in torch.split(given, chunk)]
        return torch.cat(parts)


def position_whitening(pairs: CropPairs, mean: torch.Tensor, floor: float = 0.01) -> Metric:
    """The inverse square root of the scatter between two views of the same points.

    That is within-class covariance normalisation (Hatch et al., Interspeech 2006; the first half of linear
    discriminant analysis) where each physical point is a class of its own and its members are views of it.

    Args:
        pairs: unit tokens of the same points in two views.
        mean: (C,) mean of unit tokens over the data set; cosines are taken around it.
        floor: part of the mean eigenvalue added to each eigenvalue.
    """
    difference = (pairs.first.double() - pairs.second.double()) / 2**0.5
    scatter = difference.T @ difference / len(difference)
    values, vectors = torch.linalg.eigh(scatter)
    values = values.clamp(min=0)
    # Without any difference between views (a blank image) all directions are alike: the identity.
    scale = (values + floor * values.mean()).rsqrt() if values.mean() > 0 else torch.ones_like(values)
    return Metric(mean.float(), (vectors * scale @ vectors.T).float())


def same_point_similarity(pairs: CropPairs, mean: torch.Tensor, floor: float, miss_rate: float) -> float:
    """The cosine that two views of the same point exceed in all but ``miss_rate`` of cases.

    Measured on pairs that the metric was not learnt from, one half of them with the metric of the other half: on its own
    pairs a metric from few images takes everything for alike. Halves of the rows, so of the images.

    Args:
        pairs, mean, floor: see `position_whitening`.
        miss_rate: between 0 and 1.
    """
    half = len(pairs.first) // 2
    if half == 0:  # a single pair: nothing is held out
        return float((pairs.first @ pairs.second.T).min())
    halves = [CropPairs(pairs.first[rows], pairs.second[rows]) for rows in (slice(half), slice(half, None))]
    cosines = []
    for learnt, held_out in (halves, halves[::-1]):
        metric = position_whitening(learnt, mean, floor)
        cosines.append((metric.project(held_out.first) * metric.project(held_out.second)).sum(1))
    return float(np.quantile(torch.cat(cosines).numpy(), miss_rate))
