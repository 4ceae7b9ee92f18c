"""Scores of fitted methods and of linear probes, at the labels' own resolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

from benchmarks.bench.methods import TEMPERATURE, Embed
from stego_app.crf import CrfSettings, refine
from stego_app.data import Dataset
from stego_app.evaluation import Scores, accumulate, hungarian_scores, matched_scores
from stego_app.evaluation.linear_probe import LinearProbe, ProbePoints
from stego_app.features import FeatureCache
from stego_app.progress import Progress

Labelled = tuple[Dataset, FeatureCache]


def score(predict: Embed, labelled: Labelled, classes: int, *, crf: bool, progress: Progress) -> dict[str, Any]:
    """Hungarian scores on the whole set; with ``crf`` after refinement."""
    dataset, cache = labelled
    histogram = np.zeros((classes, classes), np.int64)
    samples = {sample.image: sample for sample in dataset.samples}
    for index, path in enumerate(cache.paths):
        label = dataset.read_label(samples[path])
        maps = predict(cache.tokens(index).astype(np.float32), cache.grid(index)).T.reshape(1, classes, *cache.grid(index))
        full = interpolate(maps, size=label.shape, mode="bilinear", align_corners=False)[0]
        if crf:
            full = torch.from_numpy(refine(dataset.read_image(samples[path]), torch.softmax(full / TEMPERATURE, dim=0).numpy(), CrfSettings()))
        # max finds the same indices as argmax along the first axis in a tenth of the time.
        histogram += accumulate(full.max(0).indices.numpy(), label, classes, classes)
        progress("scoring", index + 1, len(cache))
    return _cell(hungarian_scores(histogram, class_names(dataset, classes)), histogram)


def probe(embed: Embed, fit_on: Labelled, score_on: Labelled, classes: int, *, seed: int, progress: Progress) -> dict[str, Any]:
    """Scores of a supervised linear probe on what ``embed`` gives: fitted with labels on one set, scored on another.

    Where both are the same images it is fitted on every other one and scored on the rest.
    """
    if fit_on[1].keys == score_on[1].keys:
        numbers = range(len(fit_on[1]))
        fit_on, score_on = (fit_on[0], fit_on[1].subset(numbers[0::2])), (score_on[0], score_on[1].subset(numbers[1::2]))
    fitted = _fit_probe(embed, fit_on, classes, seed, progress)
    dataset, cache = score_on
    histogram = np.zeros((classes, classes), np.int64)
    samples = {sample.image: sample for sample in dataset.samples}
    for index, path in enumerate(cache.paths):
        label = dataset.read_label(samples[path])
        tokens = embed(cache.tokens(index).astype(np.float32), cache.grid(index))
        histogram += accumulate(fitted.predict(tokens, cache.grid(index), (label.shape[0], label.shape[1])), label, classes, classes)
        progress("scoring the probe", index + 1, len(cache))
    return _cell(matched_scores(histogram, np.arange(classes), class_names(dataset, classes)), histogram)


def plain(tokens: npt.NDArray[np.float32], _grid: tuple[int, int]) -> torch.Tensor:
    """The features themselves, as an `Embed`."""
    return torch.from_numpy(tokens)


def class_names(dataset: Dataset, classes: int) -> tuple[str, ...]:
    """Names of the classes; numbers where the layout gives none."""
    return dataset.class_names or tuple(str(number) for number in range(classes))


def _fit_probe(embed: Embed, labelled: Labelled, classes: int, seed: int, progress: Progress) -> LinearProbe:
    dataset, cache = labelled
    samples = {sample.image: sample for sample in dataset.samples}
    points = ProbePoints(len(cache), classes, seed)
    for index, path in enumerate(cache.paths):
        points.add(embed(cache.tokens(index).astype(np.float32), cache.grid(index)), cache.grid(index), dataset.read_label(samples[path]))
        progress("points for the probe", index + 1, len(cache))
    return points.fit()


def _cell(scores: Scores, histogram: npt.NDArray[np.int64]) -> dict[str, Any]:
    return {"miou": scores.miou, "accuracy": scores.accuracy, "histogram": histogram.tolist(), "classes": list(scores.names)}
