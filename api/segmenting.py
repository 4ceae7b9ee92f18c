"""The work of one request, from the bytes of an image to its segmentation. Runs in a worker thread."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from api.engine import Engine
from api.options import SegmentOptions
from api.schemas import Abstained, ClassArea, Ignored, SegmentSummary, Timing
from stego_app.classes import IGNORED
from stego_app.images import read_image
from ui.contract import SegmentationLike, SegmenterLike

_DIGITS = 6  # of shares and scores: a pixel of a million still counts


@dataclass(frozen=True)
class Job:
    """Everything needed to segment one image. ``pixels``: by its header; ``accepted``: when its request was taken, of `time.perf_counter`."""

    image: bytes
    pixels: int
    segmenter: SegmenterLike
    model: str
    options: SegmentOptions
    max_pixels: int
    accepted: float

    @property
    def granularity(self) -> int:
        """Number of classes the model is cut into."""
        return self.segmenter.default_classes if self.options.classes is None else self.options.classes


@dataclass(frozen=True)
class Segmented:
    """A segmented image: as it was found, and as it is shown, less what was withheld for its confidence."""

    found: SegmentationLike
    shown: SegmentationLike
    timing: Timing


def segment(job: Job, engine: Engine) -> Segmented:
    """Decode the image and segment it.

    Raises:
        StegoError: an image that cannot be decoded, or an option the segmenter refuses.
    """
    begun = time.perf_counter()
    image = read_image(job.image, name="image", max_pixels=job.max_pixels)
    decoded = time.perf_counter()
    options = job.options
    found = engine.segment(job.segmenter, image, classes=options.classes, crf=options.crf, flip=options.flip)
    shown = found if options.abstain is None else found.abstaining(options.abstain)
    segmented = time.perf_counter()
    return Segmented(found, shown, Timing(queue=_ms(begun - job.accepted), decode=_ms(decoded - begun), segment=_ms(segmented - decoded)))


def summarise(job: Job, result: Segmented) -> SegmentSummary:
    """The JSON summary of a segmented image."""
    shown = result.shown
    labels = shown.labels
    height, width = labels.shape
    ignored = int(np.count_nonzero(result.found.labels == IGNORED))
    withheld = int(np.count_nonzero(labels == IGNORED)) - ignored
    whole = result.found.image_confidence if result.found.has_confidence else None
    below = job.options.abstain
    return SegmentSummary(
        width=width,
        height=height,
        model=job.model,
        granularity=job.granularity,
        classes=class_areas(shown),
        ignored=Ignored(pixels=ignored, share=round(ignored / labels.size, _DIGITS)),
        confidence=None if whole is None else _rounded(whole),
        abstained=None if below is None else Abstained(below=below, pixels=withheld, share=round(withheld / labels.size, _DIGITS)),
        timing_ms=result.timing,
    )


def class_areas(shown: SegmentationLike) -> list[ClassArea]:
    """The classes of an image with their areas and mean scores, largest first."""
    labels = shown.labels
    length = int(labels.max(initial=0)) + 1
    pixels = np.bincount(labels.ravel(), minlength=length)
    scores = np.bincount(labels.ravel(), weights=shown.scores.ravel(), minlength=length)
    known = shown.class_confidence() if shown.has_confidence else {}
    return [
        ClassArea(
            id=area["label"],
            name=area["name"],
            color=area["color"],
            pixels=area["pixels"],
            share=round(area["share"], _DIGITS),
            score=_rounded(float(scores[area["label"]] / pixels[area["label"]])),
            confidence=_rounded(known[area["label"]]) if known else None,
        )
        for area in shown.areas()
    ]


def _rounded(value: float) -> float:
    return round(min(1.0, max(0.0, value)), _DIGITS)


def _ms(seconds: float) -> float:
    return round(1000 * max(0.0, seconds), 1)
