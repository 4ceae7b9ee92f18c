"""What a segmenter gives for an image, and the way from probabilities on the patch grid to it.

Needs no torch, so worker processes start quickly.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from models.errors import StegoError
from stego_app.classes import IGNORED
from stego_app.confidence.agreement import MissingConfidenceError
from stego_app.confidence.maps import Trust, confidence_of, mean_confidence
from stego_app.crf import CrfSettings, refine

STRIP_PIXELS = 2_000_000
"""Overlays are drawn in strips of about this size, which keeps temporaries small for large images."""

JPEG_SIDE = 65_500
"""The most pixels that a JPEG file has on a side."""

MAX_CLASSES = 255
"""An 8-bit index image holds this many classes beside `IGNORED`."""


@dataclass(frozen=True)
class Segmentation:
    """The segments of one image.

    Attributes:
        image: (H, W, 3) uint8 RGB, as given.
        labels: (H, W) uint8 class index, `IGNORED` where there is none.
        scores: (H, W) float32 in [0, 1]: the probability of the class chosen (of being ignored, where ignored).
        names: the name of each class, by label.
        palette: (K, 3) uint8 colour of each class, by label.
        trust: what `confidence` is read from; None where the segmenter cannot tell it.
    """

    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    scores: npt.NDArray[np.float32]
    names: list[str]
    palette: npt.NDArray[np.uint8]
    trust: Trust | None = None

    @cached_property
    def confidence(self) -> npt.NDArray[np.float32]:
        """(H, W) float32 in [0, 1]: the rate at which similar patches of other images are expected to get the same class.

        Low where a pixel is likely to be wrong; computed when first asked for.

        Raises:
            MissingConfidenceError: the segmenter's file holds no table of agreement.
        """
        if self.trust is None:
            raise MissingConfidenceError
        return confidence_of(self.labels, self.trust)

    @property
    def has_confidence(self) -> bool:
        """Whether the segmenter can tell `confidence`."""
        return self.trust is not None

    @property
    def image_confidence(self) -> float | None:
        """Mean confidence of the pixels that have a class; None where none has. Raises as `confidence`."""
        return mean_confidence(self.confidence, self.labels)

    def class_confidence(self) -> dict[int, float]:
        """Mean confidence of each class in the image, by label. Raises as `confidence`."""
        counts = count_labels(self.labels)
        return {int(label): float(self.confidence[self.labels == label].mean(dtype=np.float64)) for label in np.flatnonzero(counts[:IGNORED])}

    def abstaining(self, threshold: float) -> Segmentation:
        """The same, with `IGNORED` wherever `confidence` is below ``threshold``.

        Raises:
            StegoError: ``threshold`` is not between 0 and 1.
            MissingConfidenceError: see `confidence`.
        """
        changed = replace(self, labels=abstained(self.labels, self.confidence, threshold))
        # What the pixels left out were doubted for stays to be seen.
        changed.__dict__["confidence"] = self.confidence
        return changed

    def overlay(self, alpha: float = 0.5, fade: float = 0.0) -> npt.NDArray[np.uint8]:
        """The image (H, W, 3) uint8 tinted with class colours, outlined in the full colour; ignored pixels as they are.

        Args:
            alpha: share of the colour, 0 to 1.
            fade: how much of the colour is taken from uncertain pixels, 0 to 1: at 1 its share is in proportion to `confidence`.

        Raises:
            StegoError: ``alpha`` or ``fade`` is out of range.
            MissingConfidenceError: ``fade`` is not 0, and see `confidence`.
        """
        if not 0 <= alpha <= 1:
            raise StegoError(f"alpha {alpha}: expected 0 to 1")
        if not 0 <= fade <= 1:
            raise StegoError(f"fade {fade}: expected 0 to 1")
        result = self.image.copy()
        rows = max(1, STRIP_PIXELS // self.labels.shape[1])
        table = _full_palette(self.palette)
        for top in range(0, len(self.labels), rows):
            part = slice(top, top + rows)
            labels = self.labels[part]
            colors = table[labels]
            tinted = cv2.addWeighted(self.image[part], 1 - alpha, colors, alpha, 0.0)
            below = self.labels[min(top + len(labels), len(self.labels) - 1)][None]
            edge = _edges(np.concatenate([labels, below]))[: len(labels)]
            cv2.copyTo(colors, edge.view(np.uint8), tinted)
            if fade:
                kept = 1 - fade * (1 - self.confidence[part])
                tinted = cv2.blendLinear(tinted, self.image[part], kept, 1 - kept)
            cv2.copyTo(tinted, (labels != IGNORED).view(np.uint8), result[part])
        return result

    def areas(self) -> list[dict[str, Any]]:
        """The classes in the image, largest first: label, name, color "#rrggbb", pixels, share of the whole image."""
        counts = count_labels(self.labels)[: len(self.names)]
        order = np.argsort(-counts, kind="stable")
        return [
            {
                "label": int(label),
                "name": self.names[label],
                "color": hex_color(self.palette[label]),
                "pixels": int(counts[label]),
                "share": float(counts[label] / self.labels.size),
            }
            for label in order
            if counts[label]
        ]

    def to_index_png(self) -> bytes:
        """An 8-bit PNG whose pixel values are the labels and whose palette shows the colours."""
        return index_png(self.labels, self.palette)

    def to_confidence_png(self) -> bytes:
        """`confidence` as an 8-bit grey PNG: 0 for none to 255 for full. Raises as `confidence`."""
        return grey_png(self.confidence)

    def to_overlay_png(self, alpha: float = 0.5, fade: float = 0.0) -> bytes:
        """`overlay` as a PNG."""
        stream = io.BytesIO()
        # Level 1 is four times faster than the default on photos and 5 % larger.
        Image.fromarray(self.overlay(alpha, fade)).save(stream, "PNG", compress_level=1)
        return stream.getvalue()

    def to_overlay_jpeg(self, alpha: float = 0.5, quality: int = 90, fade: float = 0.0) -> bytes:
        """`overlay` as a JPEG; reduced where a side is longer than `JPEG_SIDE`."""
        stream = io.BytesIO()
        Image.fromarray(_reduced_to(self.overlay(alpha, fade), JPEG_SIDE)).save(stream, "JPEG", quality=quality)
        return stream.getvalue()


def count_labels(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """How often each label occurs, (256,)."""
    flat = labels.ravel()
    # In parts, since bincount makes 8 bytes of each.
    parts = [np.bincount(flat[start : start + STRIP_PIXELS], minlength=256) for start in range(0, flat.size, STRIP_PIXELS)]
    counts: npt.NDArray[np.int64] = np.sum(parts, axis=0, dtype=np.int64)
    return counts


def hex_color(color: Sequence[int] | npt.NDArray[np.uint8]) -> str:
    """Red, green, blue as "#rrggbb"."""
    return "#" + "".join(f"{int(value):02x}" for value in color)


def index_png(labels: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8]) -> bytes:
    """``labels`` (H, W) uint8 as an 8-bit palette PNG: pixel values are the labels, 255 is black."""
    image = Image.fromarray(labels)
    image.putpalette(_full_palette(palette).tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG", bits=8)
    return stream.getvalue()


def grey_png(values: npt.NDArray[np.float32]) -> bytes:
    """``values`` (H, W) in [0, 1] as an 8-bit grey PNG."""
    stream = io.BytesIO()
    Image.fromarray(cv2.convertScaleAbs(values, alpha=255)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def abstained(labels: npt.NDArray[np.uint8], confidence: npt.NDArray[np.float32], threshold: float) -> npt.NDArray[np.uint8]:
    """``labels`` (H, W) with `IGNORED` wherever ``confidence`` (H, W) is below ``threshold``.

    Raises:
        StegoError: ``threshold`` is not between 0 and 1.
    """
    if not 0 <= threshold <= 1:
        raise StegoError(f"abstain {threshold}: expected 0 to 1")
    return np.where(confidence < threshold, np.uint8(IGNORED), labels)


def finish(
    image: npt.NDArray[np.uint8],
    probabilities: npt.NDArray[np.float32],
    *,
    names: Sequence[str],
    palette: npt.NDArray[np.uint8],
    crf: bool,
    settings: CrfSettings | None = None,
    engine: str = "auto",
    trust: Trust | None = None,
) -> Segmentation:
    """From probabilities on the patch grid to a segmentation at image size.

    Args:
        image: (H, W, 3) uint8 RGB.
        probabilities: (K + 1, h, w) in [0, 1], summing to 1 over the first axis; the last row is "ignored".
        names: K names.
        palette: (K, 3) colours.
        crf: refine edges with a dense CRF, at a reduced size for large images (see `CrfSettings.max_side`).
        settings: of the CRF; the defaults if None.
        engine: of the CRF, see `stego_app.crf.refine`.
        trust: see `Segmentation`.

    Raises:
        StegoError: more than `MAX_CLASSES` classes, shapes that do not fit, or an unknown engine.
    """
    _check(image, probabilities, names, palette)
    height, width = image.shape[:2]
    options = settings or CrfSettings()
    seen = reduced_image(image, options) if crf else None
    labels, scores = segment(probabilities, (height, width), seen=seen, settings=options, engine=engine)
    return Segmentation(image, labels, scores, list(names), np.asarray(palette, dtype=np.uint8), trust)


def reduced_image(image: npt.NDArray[np.uint8], settings: CrfSettings) -> npt.NDArray[np.uint8]:
    """The image at the size at which the CRF works; all that it needs of a large one."""
    size = settings.working_size(*image.shape[:2])
    if size == image.shape[:2]:
        return image
    reduced: npt.NDArray[np.uint8] = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    return reduced


def segment(
    probabilities: npt.NDArray[np.float32],
    size: tuple[int, int],
    *,
    seen: npt.NDArray[np.uint8] | None,
    settings: CrfSettings,
    engine: str = "auto",
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Labels and scores (H, W) at ``size`` from (K + 1, h, w) probabilities, as `decide` gives them.

    ``seen`` is the `reduced_image` that the CRF refines with; None for no CRF.
    """
    if seen is not None:
        probabilities = refine_patches(probabilities, seen, settings, engine)
    return decide(probabilities, size)


def refine_patches(probabilities: npt.NDArray[np.float32], seen: npt.NDArray[np.uint8], settings: CrfSettings, engine: str = "auto") -> npt.NDArray[np.float32]:
    """Probabilities (K + 1, h, w) of the patch grid after the CRF, at the size of ``seen`` (H, W, 3)."""
    return refine(seen, upsample_probabilities(probabilities, (seen.shape[0], seen.shape[1])), settings, engine=engine)


def upsample_probabilities(probabilities: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """(K, h, w) resized bilinearly to (K, H, W), pixel centres aligned; sums over K are kept."""
    height, width = size
    result = np.empty((len(probabilities), height, width), dtype=np.float32)
    for row, layer in zip(result, probabilities, strict=True):
        row[:] = _resized(layer, height, width)
    return result


def decide(probabilities: npt.NDArray[np.float32], size: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """The most probable class of each pixel after bilinear resizing to ``size``.

    One class is resized at a time, so memory does not grow with the number of classes: about 10 bytes a pixel.

    Args:
        probabilities: (K + 1, h, w), summing to 1 over the first axis; the last row is "ignored". Ties go to the smaller label.
        size: (H, W).

    Returns:
        labels (H, W) uint8, `IGNORED` where the last row wins, and their probability (H, W) float32.
    """
    height, width = size
    last = len(probabilities) - 1
    strongest = probabilities.reshape(len(probabilities), -1).max(axis=1)
    # The most probable of K + 1 has at least 1 / (K + 1) (0.99 for rounding), so fainter rows need not be looked at.
    candidates = [row for row in range(last + 1) if strongest[row] >= min(0.99 / (last + 1), float(strongest.max()))]
    first = candidates[0]
    labels = np.full(size, IGNORED if first == last else first, dtype=np.uint8)
    best = np.array(_resized(probabilities[first], height, width))
    for row in candidates[1:]:
        layer = _resized(probabilities[row], height, width)
        better = layer > best
        np.copyto(labels, np.uint8(IGNORED if row == last else row), where=better)
        np.maximum(best, layer, out=best)
    return labels, np.minimum(best, np.float32(1), out=best)


def _resized(layer: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float32]:
    if layer.shape == (height, width):
        return layer
    result: npt.NDArray[np.float32] = cv2.resize(np.ascontiguousarray(layer, dtype=np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return result


def _reduced_to(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """``image`` (H, W, 3), smaller where one of its sides is longer than ``side`` pixels."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _full_palette(palette: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(palette)] = palette
    return table


def _edges(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Where a pixel's right or lower neighbour has another label."""
    edge = np.zeros(labels.shape, dtype=bool)
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edge[:-1] |= labels[:-1] != labels[1:]
    return edge


def _check(image: npt.NDArray[np.uint8], probabilities: npt.NDArray[np.float32], names: Sequence[str], palette: npt.NDArray[np.uint8]) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise StegoError(f"image of shape {image.shape} and type {image.dtype}: expected (height, width, 3) of uint8")
    if len(names) > MAX_CLASSES:
        raise StegoError(f"{len(names)} classes: an index image holds at most {MAX_CLASSES}; choose fewer")
    if probabilities.ndim != 3 or 0 in probabilities.shape or len(probabilities) != len(names) + 1 or len(palette) != len(names):
        raise StegoError(f"probabilities of shape {probabilities.shape} for {len(names)} names and {len(palette)} colours: expected ({len(names) + 1}, h, w)")
