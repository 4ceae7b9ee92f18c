"""Optical flow between neighbouring frames, and where it can be trusted."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_RELATIVE, _ABSOLUTE = 0.01, 0.5
"""The forward-backward check's constants (Sundaram et al., 2010, section 3.1): of the flow's squared length, and in squared pixels."""


class Flow(NamedTuple):
    """Where each pixel of a frame was in the frame before it.

    Attributes:
        source: (H, W, 2) float32: column and row in the previous frame, in pixels; it may lie outside.
        consistent: (H, W) bool: the source lies inside, and the flow from there leads back.
    """

    source: Floats
    consistent: npt.NDArray[np.bool_]

    def carry(self, values: Floats) -> Floats:
        """``values`` (H, W) of the previous frame, laid where they are now; bilinear, the border continued outwards."""
        carried: Floats = cv2.remap(values, self.source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return carried

    def carry_labels(self, labels: Bytes) -> Bytes:
        """``labels`` (H, W) of the previous frame, laid where they are now; nearest neighbours."""
        carried: Bytes = cv2.remap(labels, self.source, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        return carried


def grey(image: Bytes) -> Bytes:
    """(H, W, 3) RGB to (H, W)."""
    turned: Bytes = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return turned


def dis_flow(previous: Bytes, current: Bytes) -> Flow:
    """Dense inverse search (Kroeger et al., 2016) from ``current`` (H, W) grey back to ``previous``, and forth for the check."""
    engine = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)  # type: ignore[attr-defined]  # which its stubs forget
    return checked_flow(engine.calc(current, previous, None), engine.calc(previous, current, None))


def checked_flow(backward: Floats, forward: Floats) -> Flow:
    """A `Flow` from the displacements (H, W, 2) of the current frame back to the previous one, and of the previous one forth.

    A pixel is consistent where forth after back ends near where it began: ``|b + f(x + b)|² < 0.01 (|b|² + |f(x + b)|²) + 0.5``. What
    was covered before, left the frame, or cannot be told for want of texture mostly is not.
    """
    height, width = backward.shape[:2]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    source = np.dstack([columns + backward[..., 0], rows + backward[..., 1]]).astype(np.float32)
    there = cv2.remap(forward, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error = np.square(backward + there).sum(axis=2)
    allowed = _RELATIVE * (np.square(backward).sum(axis=2) + np.square(there).sum(axis=2)) + _ABSOLUTE
    inside = (source[..., 0] >= 0) & (source[..., 0] <= width - 1) & (source[..., 1] >= 0) & (source[..., 1] <= height - 1)
    return Flow(source, (error < allowed) & inside)
