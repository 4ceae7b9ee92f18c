"""Scores of a fresh segmenter against labels, for the report's table alone: nothing is ever chosen by them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch

from stego_app.classes import class_table
from stego_app.clusters import ClusterModel
from stego_app.data import VOID, Dataset, Sample
from stego_app.features import FeatureCache
from stego_app.training.stego import Labels


def label_reader(dataset: Dataset, cache: FeatureCache) -> Labels | None:
    """Labels of the cache's entries for a linear probe, or None where some image has none or classes are not counted."""
    samples = _samples(dataset, cache)
    if dataset.class_names is None or any(sample.label is None for sample in samples):
        return None
    checked: set[int] = set()

    def read(index: int) -> npt.NDArray[np.uint8]:
        """The label; its size is held against the image's the first time only, since that decodes the image."""
        if index in checked:
            return dataset.read_label(samples[index])
        checked.add(index)
        return dataset.read_pair(samples[index])[1]

    return Labels(read, len(dataset.class_names))


def training_scores(clusters: ClusterModel, dataset: Dataset, cache: FeatureCache, shares: npt.NDArray[np.float64]) -> Sequence[Sequence[object]]:
    """Rows (what, mIoU, accuracy) in %, on the training images' own labels at the resolution of patches; none without labels.

    The cut of the tree with as many parts as there are classes is matched to them over the whole set, so that the row
    compares with published ones.
    """
    from stego_app.evaluation import accumulate, hungarian_scores

    samples = _samples(dataset, cache)
    labelled = [index for index, sample in enumerate(samples) if sample.label is not None]
    if not labelled or dataset.class_names is None:
        return ()
    count = len(dataset.class_names)
    parts = min(count, len(shares))
    labels_of_leaf = class_table(clusters.merges, shares, (), parts).leaf_to_label
    histogram = np.zeros((parts, count), dtype=np.int64)
    for index in labelled:
        predicted = _predicted(clusters, cache, index, labels_of_leaf)
        truth = cv2.resize(dataset.read_pair(samples[index])[1], cache.grid(index)[::-1], interpolation=cv2.INTER_NEAREST)
        histogram += accumulate(predicted, truth, parts, count, void=VOID)
    scores = hungarian_scores(histogram, dataset.class_names)
    return [(f"{parts} classes, Hungarian, on patches, no CRF", f"{scores.miou:.1f}", f"{scores.accuracy:.1f}")]


def _predicted(clusters: ClusterModel, cache: FeatureCache, index: int, label_of_leaf: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    tokens = torch.from_numpy(cache.tokens(index).astype(np.float32))
    leaves = clusters.fine_logits(tokens, cache.grid(index)).argmax(dim=1).numpy()
    return np.asarray(label_of_leaf[leaves].reshape(cache.grid(index)), dtype=np.int64)


def _samples(dataset: Dataset, cache: FeatureCache) -> list[Sample]:
    by_path = {sample.image: sample for sample in dataset.samples}
    return [by_path[path] for path in cache.paths]
