"""The work of one request, from the bytes of an image to the bytes of an answer. Runs in a worker thread."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from api.negotiation import Answer
from api.options import SegmentOptions
from api.schemas import Abstained, ClassArea, Ignored, SegmentSummary, Timing
from stego_app.classes import IGNORED
from stego_app.images import read_image
from ui.contract import SegmentationLike, SegmenterLike

_DIGITS = 6  # of shares and scores: a pixel of a million still counts


@dataclass(frozen=True)
class Job:
    """Everything needed to answer one request."""

    image: bytes
    segmenter: SegmenterLike
    model: str
    options: SegmentOptions
    answer: Answer
    max_pixels: int
    accepted: float


@dataclass(frozen=True)
class Result:
    """The body of an answer and where the time went."""

    body: bytes
    timing: Timing


def segment(job: Job) -> Result:
    """Decode, segment, and write the answer.

    Raises:
        StegoError: an image that cannot be decoded, or an option the segmenter refuses.
    """
    begun = time.perf_counter()
    image = read_image(job.image, name="image", max_pixels=job.max_pixels)
    decoded = time.perf_counter()
    options = job.options
    segmentation = job.segmenter(image, classes=options.classes, crf=options.crf, flip=options.flip)
    shown = segmentation if options.abstain is None else segmentation.abstaining(options.abstain)
    if segmentation.has_confidence and job.answer.form == "json":
        _ = segmentation.confidence  # part of the work whose time is told
    segmented = time.perf_counter()
    timing = Timing(queue=_ms(begun - job.accepted), decode=_ms(decoded - begun), segment=_ms(segmented - decoded))
    if job.answer.form == "index":
        body = shown.to_index_png()
    elif job.answer.form == "overlay":
        body = shown.to_overlay_png(options.alpha, options.fade)
    else:
        granularity = job.segmenter.default_classes if options.classes is None else options.classes
        summary = summarise(segmentation, shown, model=job.model, granularity=granularity, timing=timing, abstain=options.abstain)
        body = summary.model_dump_json().encode()
    return Result(body, timing)


def summarise(
    segmentation: SegmentationLike, shown: SegmentationLike, *, model: str, granularity: int, timing: Timing, abstain: float | None = None
) -> SegmentSummary:
    """The JSON summary of ``shown``: ``segmentation``, less what was withheld for confidence below ``abstain``."""
    labels = shown.labels
    height, width = labels.shape
    areas = shown.areas()
    length = int(labels.max(initial=0)) + 1
    pixels = np.bincount(labels.ravel(), minlength=length)
    scores = np.bincount(labels.ravel(), weights=shown.scores.ravel(), minlength=length)
    known = shown.class_confidence() if shown.has_confidence else {}
    classes = [
        ClassArea(
            id=area["label"],
            name=area["name"],
            color=area["color"],
            pixels=area["pixels"],
            share=round(area["share"], _DIGITS),
            score=_rounded(float(scores[area["label"]] / pixels[area["label"]])),
            confidence=_rounded(known[area["label"]]) if known else None,
        )
        for area in areas
    ]
    ignored = int(np.count_nonzero(segmentation.labels == IGNORED))
    withheld = int(np.count_nonzero(labels == IGNORED)) - ignored
    whole = segmentation.image_confidence if segmentation.has_confidence else None
    return SegmentSummary(
        width=width,
        height=height,
        model=model,
        granularity=granularity,
        classes=classes,
        ignored=Ignored(pixels=ignored, share=round(ignored / labels.size, _DIGITS)),
        confidence=None if whole is None else _rounded(whole),
        familiarity=_rounded(segmentation.familiarity) if segmentation.has_confidence else None,
        abstained=None if abstain is None else Abstained(below=abstain, pixels=withheld, share=round(withheld / labels.size, _DIGITS)),
        timing_ms=timing,
    )


def _rounded(value: float) -> float:
    return round(min(1.0, max(0.0, value)), _DIGITS)


def _ms(seconds: float) -> float:
    return round(1000 * max(0.0, seconds), 1)
