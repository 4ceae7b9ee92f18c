"""From the fine clusters of an image's patches to a confidence for each pixel. Needs no torch, so worker processes start quickly."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from stego_app.classes import IGNORED
from stego_app.confidence.agreement import Agreement, Floats

SURROUND = 0.6
"""Side of the square around a patch that is asked too, as a share of the grid's short side. From 0.4 to 0.8 makes little difference."""


Trust = Floats
"""How far an image's classes are to be trusted: (K + 1, h, w) in [0, 1] on the patch grid, the agreement to expect of each patch, were it given
each class; the last row for ignored."""


def raw_scores(fine: Floats, transitions: Floats, part_of_leaf: npt.NDArray[np.int64], parts: int) -> Floats:
    """The uncalibrated score of each class at each patch: the geometric mean of two expected retentions.

    One is the patch's own, q T m_k: q its fine clusters' probabilities, T the transitions, m_k the leaves of class k. The
    other is the mean of these over the surrounding of the patch: a class that nothing around it speaks for is doubtful.

    Args:
        fine: (F, h, w) probabilities of the fine clusters.
        transitions: (F, F), rows sum to 1.
        part_of_leaf: (F,) class of each leaf, 0 to ``parts`` - 1.
        parts: how many classes, K.

    Returns:
        (K, h, w) float32 in [0, 1].
    """
    height, width = fine.shape[1:]
    member = np.zeros((len(part_of_leaf), parts), dtype=np.float32)
    member[np.arange(len(part_of_leaf)), part_of_leaf] = 1
    own: Floats = ((transitions @ member).T @ fine.reshape(len(fine), -1)).reshape(parts, height, width).astype(np.float32)
    result: Floats = np.sqrt(np.clip(own * surrounding(own), 0, 1)).astype(np.float32)
    return result


def surrounding(maps: Floats) -> Floats:
    """Mean of ``maps`` (K, h, w) over the square around each place; the border is continued outwards."""
    height, width = maps.shape[1:]
    # Odd, so that the square has a middle.
    side = round(SURROUND * min(height, width)) | 1
    result = np.empty_like(maps)
    for row, layer in zip(result, maps, strict=True):
        row[:] = cv2.blur(np.ascontiguousarray(layer), (side, side), borderType=cv2.BORDER_REPLICATE)
    return result


def agreement_maps(fine: Floats, agreement: Agreement, part_of_leaf: npt.NDArray[np.int64], parts: int) -> Floats:
    """(K, h, w) float32 in [0, 1]: the agreement to expect of each patch, were it given each class; arguments as `raw_scores`."""
    return agreement.calibrated(raw_scores(fine, agreement.transitions, part_of_leaf, parts))


def confidence_of(labels: npt.NDArray[np.uint8], maps: Floats) -> Floats:
    """Confidence (H, W) float32 in [0, 1] of ``labels`` (H, W), read from ``maps`` (K + 1, h, w), whose last row belongs to `IGNORED`.

    Maps are resized bilinearly, one class at a time, so memory does not grow with the number of classes.
    """
    result = np.zeros(labels.shape, dtype=np.float32)
    for label in np.flatnonzero(np.bincount(labels.ravel(), minlength=IGNORED + 1)):
        layer = np.ascontiguousarray(maps[-1 if label == IGNORED else label])
        whole = cv2.resize(layer, labels.shape[::-1], interpolation=cv2.INTER_LINEAR)
        np.copyto(result, whole, where=labels == label)
    return np.clip(result, 0, 1, out=result)


def mean_confidence(confidence: Floats, labels: npt.NDArray[np.uint8]) -> float | None:
    """The image's score: mean confidence of the pixels that have a class; None where none has."""
    kept = labels != IGNORED
    return float(confidence[kept].mean(dtype=np.float64)) if kept.any() else None
