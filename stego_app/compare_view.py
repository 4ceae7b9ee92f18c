"""Two segmentations of one image held against each other, though their classes have neither names nor numbers in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from models.errors import StegoError

_VALUES = 256


@dataclass(frozen=True)
class Agreement:
    """``share`` of pixels, 0 to 1, that two label maps agree on, ``matched`` classes, and where they ``differ`` (H, W)."""

    share: float
    matched: list[tuple[int, int]]
    differ: npt.NDArray[np.bool_]


def agreement(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> Agreement:
    """Match the classes of two label maps (H, W) one to one, so that as many pixels as possible agree (Hungarian method).

    A class without a partner, since the other map has fewer, differs everywhere. 255 (ignored) is matched like a class.

    Raises:
        StegoError: the maps have different sizes.
    """
    if first.shape != second.shape:
        raise StegoError(f"label maps of {first.shape} and {second.shape} pixels: expected the same size")
    counts = np.bincount(first.ravel().astype(np.int64) * _VALUES + second.ravel(), minlength=_VALUES**2).reshape(_VALUES, _VALUES)
    ours, theirs = np.flatnonzero(counts.any(axis=1)), np.flatnonzero(counts.any(axis=0))
    rows, columns = linear_sum_assignment(-counts[np.ix_(ours, theirs)])
    partner = np.full(_VALUES, -1, dtype=np.int64)
    partner[ours[rows]] = theirs[columns]
    differ = partner[first] != second
    matched = [(int(ours[row]), int(theirs[column])) for row, column in zip(rows, columns, strict=True)]
    return Agreement(float(1 - differ.mean()), matched, differ)


def differing_picture(picture: npt.NDArray[np.uint8], differ: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """``picture`` (H, W, 3) uint8, faded, with the pixels that ``differ`` (H, W) in magenta."""
    faded = picture.astype(np.float32) * 0.45 + 255 * 0.35
    marked = picture.astype(np.float32) * 0.25 + np.array([226, 0, 116], np.float32) * 0.75
    return np.where(differ[..., None], marked, faded).astype(np.uint8)
