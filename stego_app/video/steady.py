"""Class probabilities that are steady in time: each surface's are averaged along its motion, from the past alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stego_app.video.flow import Flow

Floats = npt.NDArray[np.float32]

_SAME_GREY = 24.0
"""A pixel this much brighter or darker, of 255, than where it is said to come from is taken for another surface."""


@dataclass
class Steady:
    """A running mean of class probabilities along optical flow, its memory one frame.

    A pixel's mean is carried from where its surface was a frame before, with the number of frames in it (at most as many as the clip has in
    ``seconds``), and takes in the new frame's probabilities with a share of one in that number. Where the flow cannot be followed, or the surface
    looks different, it starts anew: at occlusions and cuts nothing is carried over. A cluster wins where it has won most of the recent time,
    so a class that flickers in is outvoted, and one that comes to stay takes over after about half of ``seconds``.

    Attributes:
        seconds: of memory.
        mean: (K, H, W) float32, the running mean; None before the first frame.
        frames: (H, W) float32, how many frames are in it.
        grey: (H, W) uint8, the last frame.
        time: of the last frame, in seconds.
    """

    seconds: float
    mean: Floats | None = None
    frames: Floats | None = None
    grey: npt.NDArray[np.uint8] | None = None
    time: float = 0.0

    def step(self, probabilities: Floats, grey: npt.NDArray[np.uint8], time: float, flow: Flow | None) -> Floats:
        """The steady probabilities (K, H, W) of a frame.

        Args:
            probabilities: (K, H, W) of this frame alone.
            grey: (H, W) uint8, the frame.
            time: in seconds.
            flow: back to the frame before, of the same size; None for the first.
        """
        if flow is None or self.mean is None or self.frames is None or self.grey is None or self.mean.shape != probabilities.shape:
            self.mean, self.frames = probabilities.copy(), np.ones(grey.shape, dtype=np.float32)
        else:
            most = max(1.0, self.seconds / max(time - self.time, 1e-3))
            alike = np.abs(flow.carry(self.grey.astype(np.float32)) - grey) < _SAME_GREY
            kept = np.minimum(flow.carry(self.frames), most - 1) * (flow.consistent & alike)
            share = 1 / (kept + 1)
            # One class at a time: all carried at once would double the memory.
            for row, new in zip(self.mean, probabilities, strict=True):
                carried = flow.carry(row)
                row[:] = carried + share * (new - carried)
            self.frames = kept + 1
        self.grey, self.time = grey, time
        return self.mean
