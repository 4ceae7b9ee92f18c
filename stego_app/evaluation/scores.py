"""mIoU, accuracy and IoU per class of a matched histogram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stego_app.evaluation.matching import UNMATCHED, hungarian, majority


@dataclass(frozen=True)
class Scores:
    """Scores in per cent, over all pixels that are not void.

    Attributes:
        miou: mean IoU over the classes that occur in the labels.
        accuracy: share of pixels whose cluster is matched to their class.
        names: of the classes.
        per_class: IoU of each class; None where it does not occur in the labels.
        matching: class of each cluster, -1 for none.
        confusion: (classes, classes + 1) int64 pixels; row the true class, column the class said, last column none.
    """

    miou: float
    accuracy: float
    names: tuple[str, ...]
    per_class: tuple[float | None, ...]
    matching: tuple[int, ...]
    confusion: npt.NDArray[np.int64]

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "miou": self.miou,
            "accuracy": self.accuracy,
            "per_class": [{"name": name, "iou": iou} for name, iou in zip(self.names, self.per_class, strict=True)],
            "matching": list(self.matching),
            "confusion": self.confusion.tolist(),
        }


def hungarian_scores(histogram: npt.NDArray[np.int64], names: Sequence[str], *, ignored: npt.NDArray[np.int64] | None = None) -> Scores:
    """Scores after one-to-one matching on the histogram (clusters, classes).

    Args:
        histogram: counts over the whole set.
        names: one a class.
        ignored: (classes,) pixels that were given no cluster; they count as errors.
    """
    return matched_scores(histogram, hungarian(histogram), names, ignored=ignored)


def majority_scores(histogram: npt.NDArray[np.int64], names: Sequence[str], *, ignored: npt.NDArray[np.int64] | None = None) -> Scores:
    """Scores after many-to-one matching; arguments as `hungarian_scores`."""
    return matched_scores(histogram, majority(histogram), names, ignored=ignored)


def matched_scores(
    histogram: npt.NDArray[np.int64], matching: npt.NDArray[np.int64], names: Sequence[str], *, ignored: npt.NDArray[np.int64] | None = None
) -> Scores:
    """Scores of a histogram (clusters, classes) given the class of each cluster, `UNMATCHED` for none: its pixels are errors.

    IoU of a class is TP / (TP + FP + FN). A class that is absent from the labels is left out of the mean, whatever was
    predicted. All scores are 0 where nothing was counted.
    """
    classes = histogram.shape[1]
    if len(names) != classes or len(matching) != len(histogram):
        raise ValueError(f"histogram {histogram.shape} does not fit {len(names)} names and a matching of {len(matching)} clusters")
    confusion = np.zeros((classes, classes + 1), dtype=np.int64)
    np.add.at(confusion.T, np.where(matching == UNMATCHED, classes, matching), histogram)
    if ignored is not None:
        confusion[:, classes] += ignored
    said = confusion[:, :classes]
    right, truth = np.diagonal(said), confusion.sum(axis=1)
    union = truth + said.sum(axis=0) - right
    present = truth > 0
    iou = 100.0 * right / np.maximum(union, 1)
    return Scores(
        miou=float(iou[present].mean()) if present.any() else 0.0,
        accuracy=float(100.0 * right.sum() / max(1, truth.sum())),
        names=tuple(names),
        per_class=tuple(float(value) if there else None for value, there in zip(iou, present, strict=True)),
        matching=tuple(int(label) for label in matching),
        confusion=confusion,
    )
