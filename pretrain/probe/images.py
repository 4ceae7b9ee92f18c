"""Probes of whole images: k-NN and a linear classifier on the CLS token, the mean patch, and both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from models.errors import StegoError
from pretrain.curate.embedding import Embedder
from pretrain.curate.whitening import unit
from pretrain.probe.classes import ClassImages
from pretrain.probe.knn import knn_predict
from stego_app.evaluation.linear_probe import fit_linear_probe
from stego_app.progress import Progress

Floats = npt.NDArray[np.float32]

FEATURES = ("cls", "patches", "cls + patches")
"""The CLS token; the mean of the unit patch tokens; the two of them side by side (as DINOv2's linear evaluation takes them)."""


@dataclass(frozen=True)
class Described:
    """Images of a split that could be read, with their unit features (n, C) or (n, 2 C) by name."""

    images: ClassImages
    features: dict[str, Floats]
    failures: list[tuple[str, str]]


@dataclass(frozen=True)
class ImageScore:
    """Accuracy in per cent of one probe on one kind of feature."""

    probe: str
    feature: str
    accuracy: float


def described(embedder: Embedder, images: ClassImages, progress: Progress, stage: str) -> Described:
    """Features of ``images``, from the cache where they are known.

    Raises:
        StegoError: none can be read.
    """
    embedded = embedder.embed(images.loaders(), progress, stage)
    if not embedded.keys:
        name, reason = embedded.failures[0]
        raise StegoError(f"{name}: {reason}; none of {len(images)} images can be read")
    cls, patches = (unit(embedded.read(kind)) for kind in ("cls", "pooled"))
    features = {"cls": cls, "patches": patches, "cls + patches": unit(np.concatenate([cls, patches], axis=1))}
    return Described(images.kept(embedded.indices), features, embedded.failures)


def image_scores(train: Described, test: Described, progress: Progress) -> list[ImageScore]:
    """k-NN and linear accuracy for each of `FEATURES`."""
    labels, truth, classes = train.images.labels, test.images.labels, len(train.images.names)
    scores = []
    for number, feature in enumerate(FEATURES):
        own, queries = train.features[feature], test.features[feature]
        scores.append(ImageScore("k-NN", feature, _accuracy(knn_predict(own, labels, queries, classes), truth)))
        probe = fit_linear_probe(torch.from_numpy(own), torch.from_numpy(labels), classes)
        said = probe.logits(torch.from_numpy(queries)).argmax(dim=1).numpy()
        scores.append(ImageScore("linear", feature, _accuracy(said, truth)))
        progress("probing images", number + 1, len(FEATURES))
    return sorted(scores, key=lambda score: score.probe != "k-NN")


def _accuracy(said: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> float:
    return float(100 * (said == truth).mean())
