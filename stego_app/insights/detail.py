"""Whether things are too thin for the grid of patches, and whether a finer grid shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_opening

Labels = npt.NDArray[np.int64]
_SQUARE = np.ones((2, 2), dtype=bool)


class Detail(NamedTuple):
    """``thin``: share of patches in parts thinner than two patches. ``kept``: share of these that a finer grid confirms; ``rest``: of the others."""

    thin: float
    kept: float
    rest: float


def thin_parts(labels: Labels) -> npt.NDArray[np.bool_]:
    """Where a class map (h, w) is thinner than two patches: what a morphological opening with 2 x 2 patches takes away."""
    thick = np.zeros(labels.shape, dtype=bool)
    for label in np.unique(labels):
        thick |= binary_opening(labels == label, _SQUARE)
    return ~thick


def confirm_detail(coarse: Sequence[Labels], finer: Sequence[Labels]) -> Detail:
    """How much of the thin parts of class maps (h, w) a finer look at the same images (h', w') confirms."""
    thin_count = thin_same = rest_count = rest_same = 0
    for labels, fine in zip(coarse, finer, strict=True):
        thin = thin_parts(labels)
        same = cv2.resize(fine.astype(np.uint8), labels.shape[::-1], interpolation=cv2.INTER_NEAREST) == labels
        thin_count, thin_same = thin_count + int(thin.sum()), thin_same + int(same[thin].sum())
        rest_count, rest_same = rest_count + int((~thin).sum()), rest_same + int(same[~thin].sum())
    return Detail(thin_count / max(1, thin_count + rest_count), thin_same / max(1, thin_count), rest_same / max(1, rest_count))
