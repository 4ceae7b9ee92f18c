"""A scan from above, its points coloured by class."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from stego_app.lidar.scan import Scan

_BACKGROUND = 18
_GRID = (46, 46, 46)


def birdseye(scan: Scan, colours: npt.NDArray[np.uint8], reach: float = 40.0, side: int = 1000) -> npt.NDArray[np.uint8]:
    """(``side``, ``side``, 3) uint8 RGB: ``reach`` m to each side of the sensor, x (ahead) upwards, y (left) to the left, rings every 10 m.

    Args:
        scan: N points.
        colours: (N, 3) uint8. Bright returns are lighter; where points lie above each other the highest is seen.
        reach: m.
        side: pixels.
    """
    picture = np.full((side, side, 3), _BACKGROUND, np.uint8)
    for metres in range(10, int(reach) + 1, 10):
        cv2.circle(picture, (side // 2, side // 2), round(metres / reach * side / 2), _GRID, 1, cv2.LINE_AA)
    order = np.argsort(scan.points[:, 2], kind="stable")
    place = np.floor((1 - scan.points[order, :2] / reach) / 2 * side).astype(np.int64)
    inside = ((place >= 0) & (place < side)).all(axis=1)
    place, order = place[inside], order[inside]
    light = 0.7 + 0.3 * np.sqrt(scan.intensity[order, None])
    shown = (colours[order] * light).astype(np.uint8)
    size = max(1, side // 500)
    for dx in range(size):  # a point covers a few pixels, or it would hardly be seen
        for dy in range(size):
            picture[np.minimum(place[:, 0] + dx, side - 1), np.minimum(place[:, 1] + dy, side - 1)] = shown
    return picture
