"""How well confidence tells wrong pixels from right ones, from counts by confidence: constant memory for any number of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stego_app.confidence.calibration import calibration_error, steps_of
from stego_app.evaluation.histogram import accumulate
from stego_app.evaluation.matching import UNMATCHED

BINS = 100
"""Steps of confidence that are told apart. Pixels of one step count as tied."""

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5, 0.3)

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ErrorPrediction:
    """Confidence against errors, over all pixels that are not void and were given a cluster.

    Attributes:
        auroc: probability that a right pixel has a higher confidence than a wrong one, ties counted as one half; None where
            there are no pixels of one of the two kinds.
        coverage: (share of pixels kept, accuracy of these in per cent), the least confident left out first.
        confidence: mean confidence.
        calibration_error: mean distance between confidence and accuracy over ten steps of confidence (Guo et al. 2017). Confidence
            promises agreement between images, not accuracy, so this says how far the two are apart here.
    """

    auroc: float | None
    coverage: tuple[tuple[float, float], ...]
    confidence: float
    calibration_error: float

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "auroc": self.auroc,
            "coverage": [{"share": share, "accuracy": accuracy} for share, accuracy in self.coverage],
            "mean_confidence": self.confidence,
            "calibration_error": self.calibration_error,
        }


def accumulate_by_confidence(
    predicted: npt.NDArray[np.integer], labels: npt.NDArray[np.integer], confidence: npt.NDArray[np.floating], clusters: int, classes: int, bins: int = BINS
) -> Counts:
    """(``clusters``, ``classes``, ``bins``) pixels, as `accumulate` counts them, by step of confidence."""
    joined = predicted.astype(np.int64) * bins + steps_of(confidence, bins)
    return accumulate(joined, labels, clusters * bins, classes).reshape(clusters, bins, classes).swapaxes(1, 2)


def error_prediction(counts: Counts, matching: npt.NDArray[np.int64]) -> ErrorPrediction:
    """How confidence predicts errors under ``matching``.

    Args:
        counts: (clusters, classes, bins), see `accumulate_by_confidence`.
        matching: (clusters,) class of each cluster; a cluster without one (`UNMATCHED`) is always wrong.
    """
    matched = np.flatnonzero(matching != UNMATCHED)
    right = counts[matched, matching[matched]].sum(0)
    wrong = counts.sum((0, 1)) - right
    total = right + wrong
    middle = (np.arange(len(total)) + 0.5) / len(total)
    return ErrorPrediction(
        auroc=auroc(right, wrong),
        coverage=tuple((share, 100 * accuracy_at(right, wrong, share)) for share in COVERAGES),
        confidence=float(total @ middle / max(1, total.sum())),
        calibration_error=calibration_error(middle, right, total),
    )


def auroc(right: Counts, wrong: Counts) -> float | None:
    """Area under the ROC curve (Mann and Whitney's U) of counts (bins,) by rising confidence; None where one kind is empty."""
    if right.sum() == 0 or wrong.sum() == 0:
        return None
    above = right.sum() - np.cumsum(right)
    return float((wrong * (above + right / 2)).sum() / (float(wrong.sum()) * float(right.sum())))


def accuracy_at(right: Counts, wrong: Counts, share: float) -> float:
    """Accuracy, 0 to 1, of the ``share`` of pixels with the highest confidence; of a step that is only partly kept, pixels at random."""
    total = (right + wrong)[::-1].astype(np.float64)
    wanted = share * total.sum()
    if wanted == 0:
        return 0.0
    before = np.cumsum(total) - total
    kept = np.divide(np.clip(wanted - before, 0, total), total, out=np.zeros_like(total), where=total > 0)
    return float((right[::-1] * kept).sum() / wanted)
