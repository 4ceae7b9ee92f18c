"""How far confidence is from what it promises."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

STEPS = 10


def steps_of(confidence: npt.NDArray[np.floating], steps: int) -> npt.NDArray[np.int64]:
    """Step of equal width, 0 to ``steps`` - 1, of each confidence in [0, 1]."""
    return np.minimum((confidence * steps).astype(np.int64), steps - 1)


def calibration_error(confidence: npt.NDArray[np.floating], met: npt.NDArray[np.number], weight: npt.NDArray[np.number]) -> float:
    """Expected calibration error over `STEPS` of equal width (Guo et al. 2017, equation 3).

    Args:
        confidence: (n,) in [0, 1].
        met: (n,) how much of ``weight`` kept what ``confidence`` promised.
        weight: (n,) how much each counts.
    """
    place = steps_of(confidence, STEPS)
    gap = np.abs(np.bincount(place, weight * confidence, minlength=STEPS) - np.bincount(place, met, minlength=STEPS))
    return float(gap.sum() / max(1, weight.sum()))
