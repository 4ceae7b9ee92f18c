"""Probes of patch tokens where label maps exist: a linear classifier, and k-means matched to the classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate, normalize

from models.backbone import Backbone
from models.errors import StegoError
from pretrain.curate.kmeans import kmeans
from stego_app.data import Dataset, Sample, open_dataset
from stego_app.data.dataset import evenly
from stego_app.evaluation.evaluate import ClassSpace, class_space
from stego_app.evaluation.histogram import accumulate
from stego_app.evaluation.linear_probe import ProbePoints
from stego_app.evaluation.scores import Scores, hungarian_scores, matched_scores
from stego_app.features import FeatureCache
from stego_app.patch_features import unit_rows
from stego_app.progress import Progress

Bytes = npt.NDArray[np.uint8]

TOKENS = 100_000
"""Tokens that k-means sees, at most."""


@dataclass(frozen=True)
class DenseSplit:
    """Labelled images to learn from and to be scored on, the classes, and in words how they were split."""

    train: Dataset
    test: Dataset
    space: ClassSpace
    how: str


@dataclass(frozen=True)
class DenseScores:
    """mIoU and accuracy of both probes, and files that could not be used."""

    linear: Scores
    kmeans: Scores
    failures: list[tuple[str, str]]


def dense_split(root: Path, layout: str, labels: Path | None, limit: int | None) -> DenseSplit | None:
    """Labelled images of ``root``; None where it has no label maps.

    A data set with splits train and val is learnt on the one and scored on the other; otherwise every other image.

    Raises:
        StegoError: as `stego_app.data.open_dataset`, or no label that can be read holds a class.
    """
    whole = open_dataset(root, layout=layout, labels=labels)
    if not whole.labelled:
        return None
    parts = [_opened(root, split, layout, labels) for split in ("train", "val")]
    if parts[0] is not None and parts[1] is not None:
        train, test, how = parts[0], parts[1], "trained on train, scored on val"
    else:
        samples = whole.labelled
        train, test = replace(whole, samples=samples[::2]), replace(whole, samples=samples[1::2])
        how = "trained on every other image, scored on the rest"
    if not train.samples or not test.samples:
        raise StegoError(f"{root}: {len(whole.labelled)} images with labels; expected at least 2, to train and to score on")
    if limit is not None:
        train, test = (replace(part, samples=evenly(part.samples, limit)) for part in (train, test))
    return DenseSplit(train, test, class_space(whole, [*train.samples, *test.samples]), how)


def _opened(root: Path, split: str, layout: str, labels: Path | None) -> Dataset | None:
    try:
        found = open_dataset(root, split=split, layout=layout, labels=labels)
    except StegoError:  # no such split; that the data set can be opened at all is known
        return None
    return replace(found, samples=found.labelled) if found.labelled else None


def dense_scores(split: DenseSplit, backbone: Backbone, *, resolution: int, device: str, seed: int, cache: Path | None, progress: Progress) -> DenseScores:
    """Both probes, learnt on the training images' tokens and scored at the resolution of the labels.

    Raises:
        StegoError: no image of a part can be read.
    """
    names, column = split.space.names, split.space.column
    classes = len(names)
    failures: list[tuple[str, str]] = []

    def features(part: Dataset) -> FeatureCache:
        read = {sample.image: sample for sample in part.samples}
        found = FeatureCache.build(
            list(read), backbone, resolution=resolution, device=device, folder=cache, read=lambda path: part.read_image(read[path]), progress=progress
        )
        failures.extend((str(failure.path), failure.reason) for failure in found.failures)
        return found

    train, test = features(split.train), features(split.test)
    points = ProbePoints(len(train), classes, seed)
    for tokens, grid, label in _labelled(train, split.train, failures, "learning from patches", progress):
        points.add(tokens, grid, column[label])
    linear = points.fit()
    sampled = unit_rows(train.sample(TOKENS, seed)[0])
    centroids = torch.from_numpy(kmeans(sampled, classes, seed, per_centroid=TOKENS))
    counts = {name: np.zeros((classes, classes), np.int64) for name in ("linear", "kmeans")}
    for tokens, grid, label in _labelled(test, split.test, failures, "scoring patches", progress):
        size, truth = (label.shape[0], label.shape[1]), column[label]
        counts["linear"] += accumulate(linear.predict(tokens, grid, size), truth, classes, classes)
        counts["kmeans"] += accumulate(nearest_centroid(tokens, centroids, grid, size), truth, classes, classes)
    matched = matched_scores(counts["linear"], np.arange(classes), names)
    return DenseScores(matched, hungarian_scores(counts["kmeans"], names), failures)


def nearest_centroid(tokens: torch.Tensor, centroids: torch.Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Bytes:
    """Cluster (H, W) of each pixel: tokens (h*w, C) on ``grid`` (h, w), scaled to unit length, against centroids (k, C).

    What decides is 2 x·c - |c|², the squared distance but for a term that all centroids share; it is upsampled bilinearly.
    """
    nearness = 2 * normalize(tokens.float(), dim=1) @ centroids.T - centroids.square().sum(dim=1)
    maps = nearness.T.reshape(1, -1, *grid)
    found: Bytes = interpolate(maps, size=size, mode="bilinear", align_corners=False)[0].argmax(dim=0).to(torch.uint8).numpy()
    return found


def _labelled(
    cache: FeatureCache, part: Dataset, failures: list[tuple[str, str]], stage: str, progress: Progress
) -> Iterator[tuple[torch.Tensor, tuple[int, int], Bytes]]:
    """Tokens, grid and label of each image whose label can be read and has its size."""
    samples: dict[Path, Sample] = {sample.image: sample for sample in part.samples}
    for index, path in enumerate(cache.paths):
        progress(stage, index + 1, len(cache))
        try:
            _, label = part.read_pair(samples[path])  # which must be of one size
        except StegoError as error:
            failures.append((str(path), str(error)))
            continue
        yield torch.from_numpy(np.array(cache.tokens(index))), cache.grid(index), label
