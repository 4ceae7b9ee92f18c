"""Pictures for the page: a segmentation reduced to the size of a screen, and its layers for `gr.AnnotatedImage`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ui.contract import SegmentationLike

SCREEN = 1024
"""Longest side, in pixels, of pictures sent to the browser; downloads keep the size of the image."""


@dataclass(frozen=True)
class Look:
    """How segments are drawn: ``alpha`` share of the colour, ``fade`` how much of it uncertain pixels lose; both 0 to 1."""

    alpha: float
    fade: float = 0.0


@dataclass(frozen=True)
class Layers:
    """What `gr.AnnotatedImage` shows: masks (h, w) float in [0, 1] with a text each, and the colour of each text."""

    masks: list[tuple[npt.NDArray[np.float32], str]]
    colors: dict[str, str]


def screen_size(height: int, width: int, longest: int = SCREEN) -> tuple[int, int]:
    """(height, width) scaled so that neither exceeds ``longest``; never enlarged, never below one pixel."""
    scale = min(1.0, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def reduce_picture(pixels: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 averaged down to ``size`` (h, w)."""
    if pixels.shape[:2] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BOX))


def reduce_labels(labels: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """(H, W) labels at the centres of ``size`` (h, w) cells: labels cannot be averaged."""
    rows = ((np.arange(size[0]) + 0.5) * labels.shape[0] / size[0]).astype(np.intp)
    columns = ((np.arange(size[1]) + 0.5) * labels.shape[1] / size[1]).astype(np.intp)
    return labels[np.ix_(rows, columns)]


def layers(segmentation: SegmentationLike, look: Look, size: tuple[int, int]) -> Layers:
    """A mask for each class in the image, in the order of `SegmentationLike.areas`, with its name and share."""
    small = reduce_labels(segmentation.labels, size)
    strength = np.full(size, look.alpha, np.float32)
    if look.fade:
        strength *= 1 - np.float32(look.fade) * (1 - reduce_labels(segmentation.confidence, size))
    masks: list[tuple[npt.NDArray[np.float32], str]] = []
    colors: dict[str, str] = {}
    for area in segmentation.areas():
        text = _unlike(f"{area['name']} · {share_text(area['share'])}", colors)
        colors[text] = area["color"]
        masks.append(((small == area["label"]) * strength, text))
    return Layers(masks, colors)


def share_text(share: float) -> str:
    """A share of the image for people: whole percents, "<1 %" for what would read as zero."""
    return "<1 %" if 0 < share < 0.005 else f"{share:.0%}".replace("%", " %")


def _unlike(text: str, taken: dict[str, str]) -> str:
    """``text``, numbered if it is taken: the component finds a colour by its text."""
    number = 2
    unique = text
    while unique in taken:
        unique = f"{text} ({number})"
        number += 1
    return unique
