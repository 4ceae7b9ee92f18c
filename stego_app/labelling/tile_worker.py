"""One tile's share of the work that needs no network: CRF and decision. Runs in worker processes, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stego_app.classes import IGNORED
from stego_app.confidence.maps import confidence_of
from stego_app.crf import CrfSettings
from stego_app.segmentation import abstained, segment


@dataclass(frozen=True)
class TileTask:
    """What a worker needs to decide a tile.

    Attributes:
        probabilities: (K + 1, h, w), with a margin.
        trust: likewise, where confidence is asked for.
        size: (H, W) of the tile in pixels, margin included.
        core: rows and columns of the tile that are kept.
        seen: the tile at the CRF's size; None for no CRF.
        settings: of the CRF.
        abstain: see `LabelSettings`.
        valid: where the core holds data, in pixels.
    """

    probabilities: npt.NDArray[np.float32]
    trust: npt.NDArray[np.float32] | None
    size: tuple[int, int]
    core: tuple[slice, slice]
    seen: npt.NDArray[np.uint8] | None
    settings: CrfSettings
    abstain: float | None
    valid: npt.NDArray[np.bool_]


class Tile(NamedTuple):
    """What was decided: labels and confidence (0 to 255; None where it is not asked for) of the core, confidence added up over
    pixels with a class before any was withheld, and how many these and the withheld are."""

    labels: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.uint8] | None
    total: float
    counted: int
    withheld: int


def finish_tile(task: TileTask, engine: str = "auto") -> Tile:
    """Decide a tile; ``engine``: of the CRF."""
    if not task.valid.any():
        nothing = None if task.trust is None else np.zeros(task.valid.shape, dtype=np.uint8)
        return Tile(np.full(task.valid.shape, IGNORED, dtype=np.uint8), nothing, 0.0, 0, 0)
    whole, _ = segment(task.probabilities, task.size, seen=task.seen, settings=task.settings, engine=engine)
    labels = whole[task.core].copy()
    labels[~task.valid] = IGNORED
    if task.trust is None:
        return Tile(labels, None, 0.0, 0, 0)
    confidence = confidence_of(whole, task.trust)[task.core]
    confidence[~task.valid] = 0
    kept = labels != IGNORED
    total, counted, withheld = float(confidence[kept].sum(dtype=np.float64)), int(kept.sum()), 0
    if task.abstain is not None:
        changed = abstained(labels, confidence, task.abstain)
        withheld = int(np.count_nonzero(changed != labels))
        labels = changed
    return Tile(labels, np.rint(confidence * 255).astype(np.uint8), total, counted, withheld)
