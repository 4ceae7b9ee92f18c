"""A segmented image as Label Studio's regions: one brush a class, or one for a place that was clicked."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from api.dialects.label_config import Brush
from api.segmenting import Segmented, class_areas
from stego_app.classes import IGNORED
from stego_app.formats import brush_rle


@dataclass(frozen=True)
class Click:
    """A place in an image, as shares of its width and height from 0 to 1, and the label chosen for it."""

    x: float
    y: float
    label: str


def class_regions(result: Segmented, brush: Brush) -> tuple[list[dict[str, Any]], list[str]]:
    """A region for each class whose name is one of the interface's labels, and the names of classes that are none of them."""
    labels = result.shown.labels
    regions: list[dict[str, Any]] = []
    left_out: list[str] = []
    for area in class_areas(result.shown):
        word = brush.label_for(area.name)
        if word is None:
            left_out.append(area.name)
        else:
            regions.append(_region(labels == area.id, word, area.score, brush))
    return regions, left_out


def clicked_regions(result: Segmented, brush: Brush, clicks: Iterable[Click]) -> list[dict[str, Any]]:
    """For each click, the connected piece of the class that is there; nothing where no class is."""
    labels, scores = result.shown.labels, result.shown.scores
    height, width = labels.shape
    regions = []
    for click in clicks:
        row, column = min(height - 1, int(click.y * height)), min(width - 1, int(click.x * width))
        if labels[row, column] == IGNORED:
            continue
        _, pieces = cv2.connectedComponents((labels == labels[row, column]).astype(np.uint8), connectivity=8)
        mask = pieces == pieces[row, column]
        regions.append(_region(mask, brush.label_for(click.label) or click.label, round(float(scores[mask].mean()), 6), brush))
    return regions


def mean_score(regions: list[dict[str, Any]]) -> float | None:
    """The prediction's score: the mean of its regions'; None without regions."""
    return round(float(np.mean([region["score"] for region in regions])), 6) if regions else None


def _region(mask: npt.NDArray[np.bool_], word: str, score: float, brush: Brush) -> dict[str, Any]:
    height, width = mask.shape
    return {
        "id": uuid.uuid4().hex[:10],
        "from_name": brush.from_name,
        "to_name": brush.to_name,
        "type": "brushlabels",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": score,
        "readonly": False,
        "value": {"format": "rle", "rle": brush_rle(mask), "brushlabels": [word]},
    }
