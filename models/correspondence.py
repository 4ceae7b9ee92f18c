"""STEGO's correspondence loss between sets of points.

Points are columns: features ``f`` (B, C, N) and codes ``z`` (B, E, N), N sampled positions of B images. All functions are
pure and differentiable in the codes.

STEGO: Hamilton et al., "Unsupervised Semantic Segmentation by Distilling Feature Correspondences", ICLR 2022, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import normalize


@dataclass(frozen=True)
class PairTerms:
    """One number for each of STEGO's pair kinds: an image with itself, with a nearest image, with a random image."""

    self_pairs: float
    neighbour_pairs: float
    random_pairs: float


@dataclass(frozen=True)
class Shifts:
    """Shifts b and weights λ of the three pair kinds (equation 5 of the paper)."""

    shift: PairTerms
    weight: PairTerms


def correspondence(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Cosines between all points of two images (equation 1).

    Args:
        first: (B, C, N).
        second: (B, C, M).

    Returns:
        (B, N, M), values in [-1, 1].
    """
    return unit_correspondence(normalize(first, dim=1), normalize(second, dim=1))


def unit_correspondence(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """`correspondence` of points (B, C, N) and (B, C, M) that have unit length already."""
    return torch.bmm(first.transpose(1, 2), second)


def spatially_centred(features: torch.Tensor) -> torch.Tensor:
    """Feature correspondence (B, N, M) with the mean over the second image's points taken from each row, its overall mean kept.

    Equation 3 subtracts from each point of the first image its mean correspondence with the second image. The authors' program
    then adds the mean over all correspondences again, and their published shifts suppose it; so do we.
    """
    overall = features.mean()
    centred = features - features.mean(dim=2, keepdim=True)
    return centred - centred.mean() + overall


def correspondence_loss(features: torch.Tensor, other_features: torch.Tensor, codes: torch.Tensor, other_codes: torch.Tensor, shift: float) -> torch.Tensor:
    """STEGO's loss of one pair kind (equations 2 to 4): ``mean(-(F - b) · max(S, 0))``.

    F is the feature correspondence, spatially centred, S the code correspondence: points whose features agree by more than
    the shift are pulled together, others pushed apart until they are orthogonal, where the clamp lets them rest.

    Args:
        features, other_features: (B, C, N) and (B, C, M), of unit length; no gradient flows into them.
        codes, other_codes: (B, E, N) and (B, E, M) at the same points, of unit length.
        shift: b.

    Returns:
        A scalar.
    """
    with torch.no_grad():
        agreement = spatially_centred(unit_correspondence(features, other_features))
    similarity = unit_correspondence(codes, other_codes).clamp(min=0)
    return -(similarity * (agreement - shift)).mean()
