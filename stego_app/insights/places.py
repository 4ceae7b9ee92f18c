"""Classes that follow the place in the picture rather than what is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

CELLS = 12
"""The picture is divided into so many rows and columns."""
GUESSED = 0.5
"""Overlap from which place alone is said to give the class away: a blind guess is then more right than wrong."""

Labels = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """``label`` overlaps by ``overlap`` (intersection over union) with one and the same part of all images, which lies at ``where``."""

    label: int
    overlap: float
    where: str


def place_maps(maps: Sequence[Labels], classes: int) -> Values:
    """How often (K, CELLS, CELLS) each class is at each place; sums to 1 over classes."""
    total = np.zeros((classes, CELLS, CELLS))
    for labels in maps:
        cells = cv2.resize(labels.astype(np.uint8), (CELLS, CELLS), interpolation=cv2.INTER_NEAREST)
        total += cells[None] == np.arange(classes)[:, None, None]
    return total / len(maps)


def find_places(places: Values) -> list[Place]:
    """Classes that can be guessed from place alone, the most predictable first.

    For each class the guess is "here it always is" at the places where it is more often than not; its overlap with the truth
    over all images is the intersection over union.

    Args:
        places: (K, CELLS, CELLS), see `place_maps`.
    """
    found = []
    for label, often in enumerate(places):
        guess = often > 0.5
        if not guess.any():
            continue
        overlap = float(often[guess].sum() / (guess.sum() + often[~guess].sum()))
        if overlap >= GUESSED:
            found.append(Place(label, overlap, where(often)))
    return sorted(found, key=lambda place: -place.overlap)


def where(often: Values) -> str:
    """The part of the picture in words: "the top", "the bottom left", "the middle" …"""
    rows, columns = np.mgrid[0 : often.shape[0], 0 : often.shape[1]]
    row = float((rows * often).sum() / often.sum() / (often.shape[0] - 1))
    column = float((columns * often).sum() / often.sum() / (often.shape[1] - 1))
    vertical = "top" if row < 0.4 else "bottom" if row > 0.6 else ""
    horizontal = "left" if column < 0.4 else "right" if column > 0.6 else ""
    return f"the {vertical} {horizontal}".replace("  ", " ").strip() if vertical or horizontal else "the middle"
