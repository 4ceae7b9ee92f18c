"""Counts of (cluster, class) pairs over pixels: all that the scores of a whole set need, in constant memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

VOID = 255


def accumulate(predicted: npt.NDArray[np.integer], labels: npt.NDArray[np.integer], clusters: int, classes: int, *, void: int = VOID) -> npt.NDArray[np.int64]:
    """(``clusters``, ``classes``) int64: how many pixels of each class lie in each cluster. Add up over images.

    Args:
        predicted: cluster of each pixel, any shape, 0 to ``clusters`` - 1.
        labels: class of each pixel, the same shape, 0 to ``classes`` - 1; pixels that are ``void`` are not counted.
        clusters: number of rows.
        classes: number of columns.
        void: the label of pixels that count neither for nor against.

    Raises:
        ValueError: shapes differ, or values outside their range.
    """
    if predicted.shape != labels.shape:
        raise ValueError(f"predicted {predicted.shape} and labels {labels.shape} differ in shape")
    counted = labels != void
    rows, columns = predicted[counted].astype(np.int64), labels[counted].astype(np.int64)
    if rows.size == 0:
        return np.zeros((clusters, classes), dtype=np.int64)
    if rows.min() < 0 or rows.max() >= clusters:
        raise ValueError(f"predicted clusters from {rows.min()} to {rows.max()}; expected 0 to {clusters - 1}")
    if columns.min() < 0 or columns.max() >= classes:
        raise ValueError(f"labels from {columns.min()} to {columns.max()}; expected 0 to {classes - 1}, or {void} for void")
    return np.bincount(rows * classes + columns, minlength=clusters * classes).reshape(clusters, classes)
