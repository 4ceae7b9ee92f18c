"""One lidar scan in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.errors import StegoError

Floats = npt.NDArray[np.float32]
FARTHEST = 5_000.0
"""Metres from the sensor beyond which coordinates are not taken for metres."""


class ScanError(StegoError):
    """A scan file that cannot be used."""

    exit_code = 1


@dataclass(frozen=True)
class Scan:
    """N points as the sensor saw them, the sensor at the origin.

    Attributes:
        points: (N, 3) float32 m.
        intensity: (N,) float32 in [0, 1].
        rows: (N,) int64, where each point stands among the ``total`` of its file.
        total: points in the file, those without a return included.
    """

    points: Floats
    intensity: Floats
    rows: npt.NDArray[np.int64]
    total: int

    def __len__(self) -> int:
        return len(self.points)


def checked_scan(name: str, points: npt.NDArray[np.floating], intensity: npt.NDArray[np.floating], *, gaps: bool = False) -> Scan:
    """A `Scan` of what a file named ``name`` holds.

    Args:
        name: how errors call it.
        points: (N, 3) m.
        intensity: (N,) in [0, 1].
        gaps: whether the format writes NaN where no return came; such points are left out.

    Raises:
        ScanError: no points, values that are not finite, or coordinates that cannot be metres around a sensor.
    """
    if not len(points):
        raise ScanError(f"{name}: an empty scan; expected points")
    finite = np.isfinite(points).all(axis=1) & np.isfinite(intensity)
    if not finite.all() and not (gaps and finite.any()):
        raise ScanError(f"{name}: {int((~finite).sum())} of {len(points)} points are not finite numbers; expected coordinates in metres")
    rows = np.flatnonzero(finite)
    points, intensity = points[rows].astype(np.float32), intensity[rows].astype(np.float32)
    if np.abs(points).max() > FARTHEST:
        raise ScanError(f"{name}: coordinates up to {np.abs(points).max():.4g}; expected metres within {FARTHEST:.0f} of the sensor")
    return Scan(points, np.clip(intensity, 0, 1), rows.astype(np.int64), len(finite))
