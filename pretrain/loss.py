"""What the student is asked for: the teacher's features, channel by channel and in direction."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional


class FeatureStatistics(NamedTuple):
    """Mean and standard deviation (C,) of each channel of the teacher's features."""

    mean: torch.Tensor
    std: torch.Tensor

    @classmethod
    def of(cls, tokens: torch.Tensor) -> FeatureStatistics:
        """Statistics of ``tokens`` (N, C), N > 1. A constant channel gets a deviation of 1e-6 of the largest, never 0."""
        std = tokens.std(dim=0)
        return cls(tokens.mean(dim=0), std.clamp(min=float(std.max()) * 1e-6 + 1e-12))

    def standardise(self, tokens: torch.Tensor) -> torch.Tensor:
        """``tokens`` (N, C) with the teacher's mean and deviation taken out."""
        return (tokens - self.mean) / self.std


def feature_loss(student: torch.Tensor, teacher: torch.Tensor, statistics: FeatureStatistics) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth L1 plus one minus cosine between standardised features.

    A few of a ViT's channels are many times larger than the rest, so unscaled distances and cosines would be
    about those few only. Smooth L1 keeps the scale of the features, the cosine their direction, on which
    correspondences and clusters rest.

    Args:
        student, teacher: (N, C) tokens.
        statistics: of the teacher's tokens.

    Returns:
        The loss (scalar), and the mean cosine in [-1, 1] without gradient.
    """
    found, wanted = statistics.standardise(student.float()), statistics.standardise(teacher.float())
    cosine = functional.cosine_similarity(found, wanted, dim=1).mean()
    return functional.smooth_l1_loss(found, wanted) + 1 - cosine, cosine.detach()


def tokens_of(patches: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) as (B·h·w, C)."""
    return patches.permute(0, 2, 3, 1).reshape(-1, patches.shape[1])
