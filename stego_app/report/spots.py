"""Pictures of what an insight points at: a cut-out or a whole image, with everything else dimmed."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from stego_app.insights.insight import Spot

_WINDOW = 9
"""Side of a cut-out, in patches: enough around a patch to see what it belongs to."""
_DIMMED = 0.3
SIDE = 240
"""Longer side of a picture, in pixels."""


def spot_picture(image: npt.NDArray[np.uint8], spot: Spot, grid: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The picture (h, w, 3) of ``spot`` in ``image`` (H, W, 3), whose patches form ``grid``; at most `SIDE` pixels a side."""
    shown = image
    if spot.mask is not None:
        mask = cv2.resize(spot.mask.astype(np.uint8), image.shape[1::-1], interpolation=cv2.INTER_NEAREST).astype(bool)
        shown = np.where(mask[..., None], image, (image * _DIMMED).astype(np.uint8))
    if spot.centre is not None:
        rows, columns = (_span(at, count, size) for at, count, size in zip(spot.centre, grid, image.shape[:2], strict=True))
        shown = shown[rows, columns]
    scale = SIDE / max(shown.shape[:2])
    size = (max(1, round(shown.shape[1] * scale)), max(1, round(shown.shape[0] * scale)))
    return np.asarray(cv2.resize(np.ascontiguousarray(shown), size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), dtype=np.uint8)


def _span(at: int, count: int, size: int) -> slice:
    """Pixels of the `_WINDOW` patches around patch ``at`` of ``count``, moved inside the image."""
    first = min(max(0, at - _WINDOW // 2), max(0, count - _WINDOW))
    last = min(count, first + _WINDOW)
    return slice(first * size // count, max(first * size // count + 1, last * size // count))
