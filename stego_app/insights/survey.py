"""One look at the images through the finished classes: everything the insights are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from stego_app.clusters import ClusterModel, sum_parts
from stego_app.data.dataset import evenly
from stego_app.discovery.source import TokenSource, image_numbers
from stego_app.progress import Progress, silent

IMAGES = 600
"""Look at so many entries at most, evenly spaced: the work stays at seconds, whatever the size of the set."""
PATCHES = 12_000
"""Patches kept for comparing patches with each other, spread evenly over the images."""
_AT_LEAST, _AT_MOST = 8, 64


@dataclass(frozen=True)
class Survey:
    """N images (or crops of them) seen through K classes, and n of their patches.

    Attributes:
        entries: (N,) number of each in the cache.
        paths: (N,) its file; crops of one image share theirs.
        numbers: (N,) number of the file.
        maps: N maps (h, w) int64: the class of each patch.
        leaf_maps: N maps (h, w) int64: the fine cluster of each patch.
        sure: N maps (h, w) float32: the probability of that class.
        fit: (N,) mean cosine of the image's codes with the nearest fine cluster.
        tokens: (n, C) float32, the patches as the backbone gave them.
        projected: (n, D) float32 unit rows, in the space where cosines measure correspondence.
        owners: (n,) the image, 0 to N - 1, of each patch.
        leaves: (n,) its fine cluster.
        labels: (n,) its class.
        classes: K.
    """

    entries: npt.NDArray[np.int64]
    paths: Sequence[Path]
    numbers: npt.NDArray[np.int64]
    maps: Sequence[npt.NDArray[np.int64]]
    leaf_maps: Sequence[npt.NDArray[np.int64]]
    sure: Sequence[npt.NDArray[np.float32]]
    fit: npt.NDArray[np.float64]
    tokens: npt.NDArray[np.float32]
    projected: npt.NDArray[np.float32]
    owners: npt.NDArray[np.int64]
    leaves: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    classes: int

    @property
    def histogram(self) -> npt.NDArray[np.float64]:
        """(N, K) share of each image's patches in each class."""
        return np.stack([np.bincount(labels.ravel(), minlength=self.classes) / labels.size for labels in self.maps])

    @property
    def files(self) -> npt.NDArray[np.int64]:
        """(n,) number of the file that each patch comes from."""
        return self.numbers[self.owners]


def take_survey(
    clusters: ClusterModel, label_of_leaf: npt.NDArray[np.int64], classes: int, source: TokenSource, seed: int, progress: Progress = silent
) -> Survey:
    """Look at at most `IMAGES` entries of ``source``.

    Args:
        clusters: what training found.
        label_of_leaf: (F,) class of each fine cluster.
        classes: K.
        source: e.g. a `stego_app.features.FeatureCache`.
        seed: of the patches that are kept.
        progress: called as ``progress("looking back", done, total)``.
    """
    entries = np.array(evenly(range(len(source)), IMAGES), dtype=np.int64)
    count = len(entries)
    each = int(np.clip(PATCHES // count, _AT_LEAST, _AT_MOST))
    random = np.random.default_rng(seed)
    maps, leaf_maps, sure, fit, kept = [], [], [], [], []
    for done, entry in enumerate(entries.tolist(), start=1):
        grid = source.grid(entry)
        tokens = np.asarray(source.tokens(entry), dtype=np.float32)
        given = torch.from_numpy(tokens)
        logits = clusters.fine_logits(given)
        probability, label = sum_parts(clusters.fine_probabilities(logits), label_of_leaf, classes).max(dim=1)
        leaf = logits.argmax(dim=1).numpy()
        maps.append(label.numpy().reshape(grid))
        leaf_maps.append(leaf.reshape(grid))
        sure.append(probability.numpy().reshape(grid))
        fit.append(float(logits.amax(dim=1).mean()))
        chosen = np.sort(random.choice(len(tokens), min(each, len(tokens)), replace=False))
        kept.append((tokens[chosen], leaf[chosen], label.numpy()[chosen], np.full(len(chosen), done - 1)))
        progress("looking back", done, count)
    tokens, leaves, labels, owners = (np.concatenate(column) for column in zip(*kept, strict=True))
    projected = clusters.project(torch.from_numpy(tokens)).numpy()
    paths = [source.paths[entry] for entry in entries]
    return Survey(entries, paths, image_numbers(source)[entries], maps, leaf_maps, sure, np.array(fit), tokens, projected, owners, leaves, labels, classes)
