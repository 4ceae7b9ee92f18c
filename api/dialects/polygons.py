"""A segmented image as polygons, for tools that hold no masks."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from api.segmenting import Segmented, class_areas
from stego_app.formats.label_map import Classes, LabelMap
from stego_app.formats.masks import class_masks, pieces
from stego_app.formats.polygons import outlines

SMALLEST = 2e-4
"""Pieces below this share of the image are left out: a person would delete each by hand."""

MAX_FINENESS = 0.1


def polygon_shapes(result: Segmented, *, fineness: float, least_score: float) -> list[dict[str, Any]]:
    """A polygon for each connected piece, largest first, holes joined to the outside by a bridge.

    Args:
        result: the segmented image.
        fineness: how far a polygon may stray from the piece, as a share of its circumference; 0 keeps every corner.
        least_score: classes with a lower mean score are left out.
    """
    shown = result.shown
    found = {area.id: area for area in class_areas(shown) if area.score >= least_score}
    classes = Classes.of(shown.names)
    least = SMALLEST * shown.labels.size
    shapes: list[tuple[int, dict[str, Any]]] = []
    for mask in class_masks(LabelMap("image", "image", shown.labels), classes):
        if mask.label not in found:
            continue
        area = found[mask.label]
        for piece in pieces(mask):
            pixels = int(np.count_nonzero(piece.mask))
            if pixels < least:
                continue
            for outline in outlines(piece):
                contour = outline.astype(np.int32)[:, None]
                smooth = cv2.approxPolyDP(contour, fineness * cv2.arcLength(contour, True), True)[:, 0]
                points = smooth if len(smooth) >= 3 else outline
                shape = {"label": area.name, "shape_type": "polygon", "points": points.astype(float).tolist(), "score": area.score}
                shapes.append((pixels, shape))
    return [shape for _, shape in sorted(shapes, key=lambda entry: -entry[0])]
