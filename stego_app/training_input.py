"""What a training looks at, and at which size."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from models.backbone import Backbone
from stego_app.data import Dataset
from stego_app.features.detail import LARGER, USUAL, choose_resolution
from stego_app.progress import Progress

Tell = Callable[[str], None]
"""Gets one line on what is decided before long work."""
log = logging.getLogger("stego.training")


@dataclass(frozen=True)
class TrainingInput:
    """A ``dataset`` as ``backbone`` sees it: with a short side of ``resolution`` pixels; ``notes``: what was decided, in plain words."""

    dataset: Dataset
    backbone: Backbone
    resolution: int
    notes: Sequence[str] = ()


def training_input(dataset: Dataset, backbone: Backbone, resolution: int | Literal["auto"], progress: Progress, tell: Tell) -> TrainingInput:
    """The images at the ``resolution`` given, or at the one that they ask for; ``tell`` hears of what takes longer before it does."""
    if resolution != "auto":
        return TrainingInput(dataset, backbone, resolution)
    paths = [sample.image for sample in dataset.samples]
    chosen, kept = choose_resolution(paths, backbone.patch_size, dataset.reader(), progress)
    if chosen != LARGER:
        return TrainingInput(dataset, backbone, chosen)
    smaller = (
        f"the images show things smaller than a patch at {USUAL} pixels (patches keep {kept:.0%} of what colours vary by), so they are looked at with "
        f"{LARGER}, which takes about five times as long; --resolution {USUAL} is quicker"
    )
    tell(smaller)
    return TrainingInput(dataset, backbone, chosen, [smaller])
