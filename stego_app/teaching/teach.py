"""Teach a segmenter a person's classes from as little as one labelled image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from models.errors import StegoError
from stego_app.confidence.fit import fit_agreement
from stego_app.data import Dataset
from stego_app.edits import MAX_NAME, Rename, checked_name
from stego_app.evaluation.evaluate import ClassSpace, class_space
from stego_app.evaluation.linear_probe import ProbePoints
from stego_app.features import FeatureCache
from stego_app.naming.prototypes import cluster_prototypes
from stego_app.progress import Progress, silent
from stego_app.segmenter import Segmenter
from stego_app.teaching.classifier import fit_classifier, taught_clusters
from stego_app.training_run import cluster_shares, data_fingerprint

POINTS = 20_000
"""Labelled pixels to learn from, spread evenly over the labelled images."""
UNLABELLED = 12_000
"""Patches of all images to learn from."""


@dataclass(frozen=True)
class Taught:
    """What came of it.

    Attributes:
        segmenter: its classes are those labelled, by name; everything else of it works as before.
        images: labelled images that were used.
        absent: names of classes that no usable label shows, so that they cannot be given.
        failures: (label file, reason) of those left out.
    """

    segmenter: Segmenter
    images: int
    absent: tuple[str, ...]
    failures: Sequence[tuple[str, str]]


def teach(
    segmenter: Segmenter, dataset: Dataset, *, seed: int = 0, device: str = "auto", batch_size: int = 8, cache: Path | None = None, progress: Progress = silent
) -> Taught:
    """Classes as labelled in some images of ``dataset``, fitted with the help of all its images.

    Args:
        segmenter: gives backbone, resolution, metric and fine clusters; best trained on these images.
        dataset: images, some of them with labels.
        seed: of what is drawn.
        device, batch_size, cache: of the features; see `FeatureCache.build`.
        progress: called as ``progress(stage, done, total)``.

    Raises:
        StegoError: no image has a label that can be used, the labels show one class only, or a class is called what no class can be.
    """
    labelled = dataset.labelled
    if not labelled:
        raise StegoError(f"{dataset.root}: no image has a label; expected label images of the same names, see --labels")
    space = class_space(dataset, labelled, progress)
    called = [_class_name(dataset, name) for name in space.names]
    features = FeatureCache.build(
        [sample.image for sample in dataset.samples],
        segmenter.model.backbone,
        resolution=segmenter.model.settings.resolution,
        brighten=segmenter.model.settings.brighten,
        device=device,
        batch_size=batch_size,
        folder=cache,
        read=dataset.reader(),
        progress=progress,
    )
    failures = [(str(failure.path), failure.reason) for failure in features.failures]
    points, used = _labelled_points(dataset, space, features, seed, failures)
    tokens, labels, _ = points.state()
    present = np.unique(labels.numpy())
    if len(present) < 2:
        said = f" (first: {failures[0][0]}: {failures[0][1]})" if failures else ""
        raise StegoError(f"{dataset.root}: the labels show {len(present)} classes; expected at least two in all{said}")
    column = np.full(len(space.names), -1, dtype=np.int64)
    column[present] = np.arange(len(present))
    known = torch.from_numpy(column)[labels]
    names = [called[value] for value in present]
    before = segmenter.model.clusters
    unlabelled = torch.from_numpy(features.sample(UNLABELLED, seed)[0])
    classifier = fit_classifier(before, tokens.float(), known, unlabelled, len(names), used, seed)
    clusters = taught_clusters(before, classifier, tokens.float(), known)
    model = replace(
        segmenter.model,
        clusters=clusters,
        shares=cluster_shares(clusters, features, seed),
        edits=tuple(Rename((leaf,), name) for leaf, name in enumerate(names)),
        provenance={
            **segmenter.model.provenance,
            "taught": {"labelled_images": used, "classes": names, "data_fingerprint": data_fingerprint(features), "seed": seed},
        },
        agreement=fit_agreement(clusters, features, seed=seed, progress=progress),
        prototypes=cluster_prototypes(clusters, unlabelled.numpy()),
    )
    absent = tuple(name for value, name in enumerate(space.names) if value not in set(present.tolist()))
    return Taught(Segmenter(model, device=device, name=segmenter.name), used, absent, failures)


def _class_name(dataset: Dataset, name: str) -> str:
    """``name`` as a segmenter file can hold it."""
    try:
        return checked_name(name.strip()[:MAX_NAME])
    except StegoError as error:
        raise StegoError(f"{dataset.root}: {error}") from error


def _labelled_points(dataset: Dataset, space: ClassSpace, features: FeatureCache, seed: int, failures: list[tuple[str, str]]) -> tuple[ProbePoints, int]:
    """Labelled pixels with their features, and from how many images; labels that cannot be used are added to ``failures``."""
    entries = {path: index for index, path in enumerate(features.paths)}
    points, used = ProbePoints(len(dataset.labelled), len(space.names), seed, POINTS), 0
    for sample in (sample for sample in dataset.labelled if sample.image in entries):
        try:
            label = space.column[dataset.read_pair(sample)[1]]
        except StegoError as error:
            failures.append((str(sample.label), str(error)))
            continue
        index = entries[sample.image]
        points.add(torch.from_numpy(features.tokens(index).astype(np.float32)), features.grid(index), label)
        used += 1
    return points, used
