"""Which patches correspond to a point: cosine heat maps, as in the figure 2 of STEGO (Hamilton et al. 2022).

Positions are shares of the width and height, (x, y) in [0, 1], so that they mean the same at every size.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from stego_app.patch_features import PatchFeatures, unit_rows

_INK = ((255, 255, 255), (20, 20, 20))  # a ring of both is seen on any picture


def feature_at(features: PatchFeatures, x: float, y: float) -> npt.NDArray[np.float32]:
    """The unit feature (C,) at a point, interpolated bilinearly between the centres of the four nearest patches.

    Args:
        features: of the image.
        x: position across, 0 to 1; beyond is taken as the border.
        y: position down, likewise.
    """
    height, width = features.grid
    top, bottom, down = _between(y, height)
    left, right, across = _between(x, width)
    grid = features.values.reshape(height, width, -1)
    upper = (1 - across) * grid[top, left] + across * grid[top, right]
    lower = (1 - across) * grid[bottom, left] + across * grid[bottom, right]
    point: npt.NDArray[np.float32] = unit_rows(((1 - down) * upper + down * lower)[None])[0]
    return point


def cosine_heat(query: npt.NDArray[np.float32], features: PatchFeatures) -> npt.NDArray[np.float32]:
    """The cosine (h, w) in [-1, 1] of the unit feature ``query`` (C,) with each patch."""
    heat: npt.NDArray[np.float32] = np.clip(features.values @ query, -1, 1).reshape(features.grid).astype(np.float32)
    return heat


def best_point(heat: npt.NDArray[np.float32]) -> tuple[float, float]:
    """The centre (x, y) of the hottest patch of ``heat`` (h, w); the first in reading order where several are."""
    row, column = np.unravel_index(int(np.argmax(heat)), heat.shape)
    return (float(column) + 0.5) / heat.shape[1], (float(row) + 0.5) / heat.shape[0]


def heat_picture(picture: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32], *, low: float = 0.0, strength: float = 0.75) -> npt.NDArray[np.uint8]:
    """``picture`` (H, W, 3) uint8 under ``heat`` (h, w): cosines of ``low`` and less leave it dark and grey, 1 glows in full.

    The scale is the same for every picture, so that two heat maps can be compared.

    Args:
        picture: RGB.
        heat: cosines, enlarged bilinearly to the picture.
        low: the cosine at which the glow begins, -1 to below 1.
        strength: share of the colour where the cosine is 1.
    """
    height, width = picture.shape[:2]
    enlarged = cv2.resize(np.ascontiguousarray(heat, dtype=np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    level = np.clip((np.asarray(enlarged, dtype=np.float32) - low) / (1 - low), 0, 1)
    glow = heat_colors(level)
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32) * 0.6
    share = (strength * level)[..., None]
    mixed: npt.NDArray[np.uint8] = np.clip((1 - share) * grey + share * glow, 0, 255).astype(np.uint8)
    return mixed


def heat_colors(level: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Colours (H, W, 3) uint8 for values in [0, 1]: from black over purple and orange to yellow, even in lightness."""
    shades = cv2.applyColorMap(cv2.convertScaleAbs(level, alpha=255), cv2.COLORMAP_INFERNO)
    result: npt.NDArray[np.uint8] = np.asarray(shades)[..., ::-1]  # OpenCV gives blue, green, red
    return result


def mark(picture: npt.NDArray[np.uint8], x: float, y: float, *, cross: bool) -> npt.NDArray[np.uint8]:
    """A copy of ``picture`` with a ring at (x, y), and a cross in it where asked for."""
    height, width = picture.shape[:2]
    centre = (min(width - 1, int(x * width)), min(height - 1, int(y * height)))
    radius = max(4, round(max(height, width) / 45))
    marked: npt.NDArray[np.uint8] = picture.copy()
    for ink, thickness in zip(reversed(_INK), (max(3, radius // 2), max(1, radius // 5)), strict=True):
        cv2.circle(marked, centre, radius, ink, thickness, cv2.LINE_AA)
        if cross:
            cv2.drawMarker(marked, centre, ink, cv2.MARKER_CROSS, radius, thickness, cv2.LINE_AA)
    return marked


def _between(position: float, count: int) -> tuple[int, int, float]:
    """The two patches around a position among ``count``, and how far it is from the first to the second, 0 to 1."""
    exact = min(max(position * count - 0.5, 0.0), count - 1.0)
    first = min(int(exact), max(count - 2, 0))
    return first, min(first + 1, count - 1), exact - first
