"""Scores of a fresh segmenter against labels, for the report's table alone: nothing is ever chosen by them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch

from models.errors import StegoError
from stego_app.classes import class_table
from stego_app.clusters import ClusterModel
from stego_app.data import VOID, Dataset, Sample
from stego_app.data.dataset import evenly
from stego_app.evaluation.evaluate import ClassSpace, class_space
from stego_app.evaluation.histogram import accumulate
from stego_app.evaluation.linear_probe import LinearProbe, ProbePoints
from stego_app.evaluation.scores import Scores, hungarian_scores, matched_scores
from stego_app.features import FeatureCache
from stego_app.progress import Progress, silent

IMAGES = 1000
"""Score on so many labelled images at most, evenly spaced: the table is a first look, `stego eval` does the whole set."""

PROBE_POINTS = 20_000
"""Patches to train a linear probe on: a few seconds of work, whatever the size of the set."""

_PROBED = ("features", "codes", "detailed codes")


@dataclass(frozen=True)
class TrainingScores:
    """For the report: rows (what, mIoU, accuracy) in per cent, sentences to read beside them, and (label file, reason) of what was left out."""

    rows: Sequence[tuple[str, str, str]] = ()
    notes: Sequence[str] = ()
    failures: Sequence[tuple[str, str]] = ()


def training_scores(
    clusters: ClusterModel, dataset: Dataset, cache: FeatureCache, shares: npt.NDArray[np.float64], *, seed: int = 0, progress: Progress = silent
) -> TrainingScores:
    """Scores on the training images' own labels at the resolution of patches; nothing where there are no labels.

    The cut of the tree with as many parts as there are classes is matched to them over all scored images. Linear probes on
    features and on codes, plain and detailed, are trained on every other image and scored on the rest, as `stego eval` does with pixels.
    A label that cannot be used is listed, and its image left out. Never raises a StegoError: labels are no part of the training.

    Args:
        clusters: what training found.
        dataset: with labels, or without.
        cache: features of whole images of ``dataset``; nothing is scored where its entries are crops.
        shares: (F,) share of patches in each fine cluster.
        seed: of the patches that the probes are trained on.
        progress: called as ``progress("scoring", done, total)`` in images.
    """
    labelled = {sample.image: sample for sample in dataset.labelled}
    entries = {labelled[path].key: index for index, path in enumerate(cache.paths) if path in labelled}
    if not entries:
        return TrainingScores()
    if any("#" in key for key in cache.keys):
        return TrainingScores(notes=["There are labels, but no scores: features of five crops do not cover an image. `stego eval` scores the segmenter."])
    found = [sample for sample in labelled.values() if sample.key in entries]
    samples = evenly(found, IMAGES)
    notes = [f"Scores are of {len(samples)} of the {len(found)} labelled images, evenly spaced; `stego eval` scores all."] if len(samples) < len(found) else []
    try:
        space = class_space(dataset, samples, progress)
    except StegoError as error:
        return TrainingScores(notes=[*notes, f"There are labels, but no scores: {error}."], failures=_unusable(dataset, samples))
    run = _Run(clusters, cache, space, shares, len(samples), seed)
    failures: list[tuple[str, str]] = []
    # Those to train probes on come first, so that one pass over the images is enough.
    for done, number in enumerate([*range(0, len(samples), 2), *range(1, len(samples), 2)], start=1):
        try:
            run.see(entries[samples[number].key], space.column[dataset.read_pair(samples[number])[1]], training=number % 2 == 0)
        except StegoError as error:
            failures.append((str(samples[number].label), str(error)))
        progress("scoring", done, len(samples))
    if len(failures) == len(samples):
        return TrainingScores(notes=[*notes, "There are labels, but no scores: none of them can be used."], failures=failures)
    return TrainingScores(list(run.rows()), [*notes, *run.notes()], failures)


def _unusable(dataset: Dataset, samples: Sequence[Sample]) -> list[tuple[str, str]]:
    """(label file, reason) of the labels that cannot be read."""
    failures = []
    for sample in samples:
        try:
            dataset.read_label(sample)
        except StegoError as error:
            failures.append((str(sample.label), str(error)))
    return failures


class _Run:
    """One pass over the labelled images: counts for the clusters, points and then counts for the probes."""

    def __init__(self, clusters: ClusterModel, cache: FeatureCache, space: ClassSpace, shares: npt.NDArray[np.float64], images: int, seed: int) -> None:
        self.clusters, self.cache, self.space = clusters, cache, space
        self.classes = len(space.names)
        self.parts = min(self.classes, len(shares))
        self.label_of_leaf = class_table(clusters.merges, shares, (), self.parts).leaf_to_label
        self.counts = np.zeros((self.parts, self.classes), dtype=np.int64)
        self.points = {what: ProbePoints((images + 1) // 2, self.classes, seed, PROBE_POINTS) for what in _PROBED}
        self.probed = {what: np.zeros((self.classes, self.classes), dtype=np.int64) for what in _PROBED}
        self.probes: dict[str, LinearProbe] | None = None
        self.problem: str | None = None

    def see(self, index: int, label: npt.NDArray[np.uint8], *, training: bool) -> None:
        """Take entry ``index`` of the cache and its label (H, W), which is brought to the grid of patches."""
        grid = self.cache.grid(index)
        tokens = torch.from_numpy(self.cache.tokens(index).astype(np.float32))
        truth = np.asarray(cv2.resize(label, grid[::-1], interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
        leaves = self.clusters.fine_logits(tokens).argmax(dim=1).numpy()
        self.counts += accumulate(self.label_of_leaf[leaves].reshape(grid), truth, self.parts, self.classes, void=VOID)
        probed = {"features": tokens, "codes": self.clusters.codes(tokens), "detailed codes": self.clusters.detailed_codes(tokens)}
        if training:
            for what, points in self.points.items():
                points.add(probed[what], grid, truth)
            return
        if self.probes is None:
            self.probes = self._fit()
        for what, probe in self.probes.items():
            self.probed[what] += accumulate(probe.predict(probed[what], grid, grid), truth, self.classes, self.classes, void=VOID)

    def _fit(self) -> dict[str, LinearProbe]:
        try:
            return {what: points.fit() for what, points in self.points.items()}
        except StegoError as error:
            self.problem = str(error).removeprefix("linear probe: ")
            return {}

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """The table."""
        yield _row(f"{self.parts} classes, Hungarian, on patches, no CRF", hungarian_scores(self.counts, self.space.names))
        for what, counts in self.probed.items():
            if counts.any():
                yield _row(f"linear probe on {what} (trained with labels), on patches", matched_scores(counts, np.arange(self.classes), self.space.names))

    def notes(self) -> list[str]:
        """What to know about the table."""
        if any(counts.any() for counts in self.probed.values()):
            return ["The linear probes were trained with labels on every other labelled image and scored on the rest; they are no part of the segmenter."]
        return [f"No linear probe: {self.problem or 'it needs two labelled images or more, one to train on and one to score'}."]


def _row(what: str, scores: Scores) -> tuple[str, str, str]:
    return what, f"{scores.miou:.1f}", f"{scores.accuracy:.1f}"
