"""Principal mask proposals: an image cut into regions by its own patch features (Hahn et al., TMLR 2024, section 3.2).

The first principal direction of the patches that belong to no mask yet is replaced by the patch closest to it; all patches
whose cosine to that patch is at least ``threshold`` of the largest one become a mask; again until ``coverage`` is reached.

Where the paper leaves room, or its pixels have no counterpart on the patch grid:

- A principal direction has no sign: of both, the one with the patch of largest cosine is taken.
- The paper aligns masks with the image by a CRF before they are used; here masks stay on the patch grid, as for all methods
  that are compared without CRF.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

THRESHOLD = 0.4
COVERAGE = 0.95
NO_MASK = -1


def principal_direction(tokens: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The unit direction (C,) of largest variance of ``tokens`` (n, C) about their mean; its sign is arbitrary."""
    centred = tokens - tokens.mean(axis=0)
    # Of the two equivalent eigenproblems the smaller one is solved.
    if len(tokens) < tokens.shape[1]:
        _, vectors = eigh(centred @ centred.T, subset_by_index=[len(tokens) - 1, len(tokens) - 1], check_finite=False)
        direction = centred.T @ vectors[:, 0]
    else:
        last = tokens.shape[1] - 1
        _, vectors = eigh(centred.T @ centred, subset_by_index=[last, last], check_finite=False)
        direction = vectors[:, 0]
    return np.asarray(direction / max(float(np.linalg.norm(direction)), 1e-12), np.float32)


def principal_masks(tokens: npt.NDArray[np.floating], threshold: float = THRESHOLD, coverage: float = COVERAGE) -> npt.NDArray[np.int64]:
    """The mask (n,) of each patch in the order of discovery, 0 upwards; `NO_MASK` for those left when ``coverage`` was reached.

    Args:
        tokens: (n, C) of one image, any length.
        threshold: share of the largest similarity from which a patch joins the mask.
        coverage: share of patches in masks at which to stop.
    """
    unit = np.asarray(tokens, np.float32)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    masks = np.full(len(unit), NO_MASK, np.int64)
    number = 0
    while (masks != NO_MASK).mean() < coverage:
        left = np.flatnonzero(masks == NO_MASK)
        patches = unit[left]
        seed = patches[np.abs(patches @ principal_direction(patches)).argmax()]
        similarity = patches @ seed
        masks[left[similarity >= threshold * similarity.max()]] = number
        number += 1
    return masks
