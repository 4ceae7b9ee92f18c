"""Another view of a scan: turned, mirrored and moved, the sensor with it, so that every ray stays a ray."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Motion(NamedTuple):
    """``x @ matrix + shift``; ``matrix`` (3, 3) keeps lengths, ``shift`` (3,) is in m."""

    matrix: Floats
    shift: Floats

    def __call__(self, points: Floats) -> Floats:
        """Points (N, 3) moved."""
        moved: Floats = (points @ self.matrix + self.shift).astype(np.float32)
        return moved


def random_motion(rng: np.random.Generator, reach: float) -> Motion:
    """Any turn about the vertical and mirroring of either axis, as the paper has them (section 4.1), and a shift of up to ``reach`` m each way.

    The shift moves the points against the grid of voxels, so that the grid itself is nothing to be learnt.
    """
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    signs = np.append(rng.choice([-1.0, 1.0], 2), 1.0)
    return Motion((turn * signs).astype(np.float32), rng.uniform(-reach, reach, 3).astype(np.float32))
