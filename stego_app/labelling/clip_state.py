"""What is carried from frame to frame of a clip, and kept on disk so that an interrupted clip goes on."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from stego_app.labelling.names import Plan
from stego_app.npz import load_arrays, save_arrays
from stego_app.video.flicker import Flicker
from stego_app.video.steady import Steady

FOLDER = ".clips"
"""Folder inside OUT for the states of clips under way."""

_NAMES = ("stamp", "mean", "frames", "grey", "time", "next", "labels", "alone", "flicker")


@dataclass
class ClipState:
    """The state after ``next`` frames.

    Attributes:
        path: where it is kept.
        stamp: what it was made from; a state of anything else is not gone on from.
        steady: the running mean.
        next: number of the next frame.
        labels, alone: (H, W) uint8 of the last frame, steady and by itself.
        flicker, flicker_alone: of both so far.
    """

    EVERY: ClassVar[int] = 8
    """Batches between two states: whole ones, so that a clip that goes on sees the batches of an unbroken run."""

    path: Path
    stamp: str
    steady: Steady
    next: int = 0
    labels: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.uint8))
    alone: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.uint8))
    flicker: Flicker = field(default_factory=Flicker)
    flicker_alone: Flicker = field(default_factory=Flicker)

    @classmethod
    def restored(cls, out: Path, plan: Plan, stamp: str, seconds: float) -> ClipState:
        """The state kept for the clip of ``plan`` in ``out``, or a new one where there is none of this ``stamp``.

        One of another stamp is removed: the frames that it goes on from are about to be written over.
        """
        path = out / FOLDER / f"{plan.state}.npz"
        state = cls(path, stamp, Steady(seconds))
        arrays = load_arrays(path, *_NAMES)
        if arrays is None or str(arrays["stamp"]) != stamp:
            path.unlink(missing_ok=True)
            return state
        state.steady = Steady(seconds, arrays["mean"], arrays["frames"], arrays["grey"], float(arrays["time"]))
        state.next, state.labels, state.alone = int(arrays["next"]), arrays["labels"], arrays["alone"]
        changed, counted, changed_alone, counted_alone = (int(value) for value in arrays["flicker"])
        state.flicker, state.flicker_alone = Flicker(changed, counted), Flicker(changed_alone, counted_alone)
        return state

    def save(self) -> None:
        """Keep it.

        Raises:
            StegoError: it cannot be written.
        """
        steady = self.steady
        if steady.mean is None or steady.frames is None or steady.grey is None:
            raise ValueError("there is no state before the first frame")
        counts = [self.flicker.changed, self.flicker.counted, self.flicker_alone.changed, self.flicker_alone.counted]
        save_arrays(
            self.path,
            stamp=np.array(self.stamp),
            mean=steady.mean,
            frames=steady.frames,
            grey=steady.grey,
            time=np.array(steady.time),
            next=np.array(self.next),
            labels=self.labels,
            alone=self.alone,
            flicker=np.array(counts, dtype=np.int64),
        )

    def forget(self) -> None:
        """The clip is done."""
        self.path.unlink(missing_ok=True)
        with suppress(OSError):  # that of another clip is under way
            self.path.parent.rmdir()
