"""Linear probes as published: trained with the labels of the training split, scored on the whole validation split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.published.protocol import published_miou
from stego_app import Segmenter
from stego_app.crf import CrfPool
from stego_app.data import Dataset
from stego_app.data.dataset import evenly
from stego_app.encoder import Encoded
from stego_app.evaluation.evaluate import count_pixels
from stego_app.evaluation.linear_probe import LinearProbe, ProbePoints
from stego_app.evaluation.scores import matched_scores
from stego_app.palette import palette
from stego_app.progress import Progress, silent

FEATURES, CODES = "features", "codes"


def linear_probe_scores(
    segmenter: Segmenter,
    train: Dataset,
    val: Dataset,
    *,
    probed: Sequence[str] = (FEATURES, CODES),
    side: int,
    images: int,
    seed: int,
    workers: int | None = None,
    progress: Progress = silent,
) -> dict[str, dict[str, float]]:
    """mIoU and accuracy in per cent of each probe, flip-averaged, with ("codes + CRF") and without the CRF ("codes").

    Args:
        segmenter: whose backbone and head are probed; frozen.
        train, val: centre-cropped splits with labels.
        probed: tokens to probe, the features of the backbone, the codes of the head, or both.
        side: of the crops, in pixels.
        images: of the training split that pixels are drawn from, evenly spaced.
        seed: of the draw.
        workers: processes for the CRF.
        progress: called after each image.

    Raises:
        StegoError: labels or images that cannot be read, or no labelled pixel to train on.
    """
    classes = len(val.class_names or ())
    points = {what: ProbePoints(min(images, len(train.labelled)), classes, seed) for what in probed}
    probes = _fit(segmenter, train, points, side, images, progress)
    modes = [(what, crf) for what in probed for crf in (False, True)]
    histograms = {mode: np.zeros((classes + 1, classes), dtype=np.int64) for mode in modes}
    with CrfPool(workers) as pool:
        for number, counts in enumerate(pool.run(count_pixels, _jobs(segmenter, probes, val, classes, side, progress))):
            if isinstance(counts, BaseException):
                raise counts
            histograms[modes[number % len(modes)]] += counts.sum(axis=-1)  # over steps of confidence, which probes have none of
    found = {}
    for (what, crf), counts in histograms.items():
        scores = matched_scores(counts[:-1], np.arange(classes), val.class_names or (), ignored=counts[-1])
        found[f"{what} + CRF" if crf else what] = {"miou": published_miou(scores), "accuracy": scores.accuracy}
    return found


def _fit(segmenter: Segmenter, train: Dataset, points: dict[str, ProbePoints], side: int, images: int, progress: Progress) -> dict[str, LinearProbe]:
    samples = evenly(train.labelled, images)
    for number, sample in enumerate(samples):
        image, label = train.read_pair(sample)
        encoded = segmenter.encode(image, resolution=side)
        for what, drawn in points.items():
            drawn.add(_tokens(what, segmenter, encoded), encoded.grid, label)
        progress("linear probe: training pixels", number + 1, len(samples))
    return {what: found.fit() for what, found in points.items()}


def _jobs(segmenter: Segmenter, probes: dict[str, LinearProbe], val: Dataset, classes: int, side: int, progress: Progress) -> Iterator[tuple[Any, ...]]:
    """Arguments of `count_pixels`, for each image one for each probe without and with the CRF."""
    names, colors = [str(label) for label in range(classes)], palette(classes)
    samples = val.labelled
    for number, sample in enumerate(samples):
        image, label = val.read_pair(sample)
        encoded = segmenter.encode(image, flip=True, resolution=side)
        for what, probe in probes.items():
            probabilities = _probabilities(probe, _tokens(what, segmenter, encoded), encoded.grid)
            for crf in (False, True):
                yield image, probabilities, label, names, colors, classes, crf
        progress("linear probe: scoring", number + 1, len(samples))


def _tokens(what: str, segmenter: Segmenter, encoded: Encoded) -> torch.Tensor:
    return encoded.tokens if what == FEATURES else segmenter.codes(encoded)


def _probabilities(probe: LinearProbe, tokens: torch.Tensor, grid: tuple[int, int]) -> npt.NDArray[np.float32]:
    """(K + 1, h, w); the last row, "ignored", is empty."""
    likely = torch.softmax(probe.logits(tokens.float()), dim=1).T.reshape(-1, *grid)
    padded: npt.NDArray[np.float32] = torch.cat([likely, torch.zeros_like(likely[:1])]).numpy()
    return padded
