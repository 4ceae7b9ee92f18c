"""Polygons around masks, with holes bridged, and back."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from stego_app.formats.masks import ClassMask

Points = npt.NDArray[np.int64]


def outlines(mask: ClassMask) -> list[Points]:
    """One closed polygon (N, 2) of pixel positions (x, y) for each connected piece (8 neighbours), three points or more.

    Vertices are the outermost pixels themselves, so a reader that fills a polygon and draws its border, as OpenCV's
    ``fillPoly`` and all that rest on it, gets the piece back. A hole is joined to the rest by a bridge there and back over pixels of the piece.
    """
    # A border all around, so that the outermost contours never touch the edge.
    padded = np.pad(mask.mask, 1).astype(np.uint8)
    contours, hierarchy = cv2.findContours(padded, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if hierarchy is None:
        return []
    shift = np.array([mask.box.left - 1, mask.box.top - 1])
    result = []
    for index, (_, _, child, parent) in enumerate(hierarchy[0]):
        if parent != -1:
            continue
        holes = []
        while child != -1:
            holes.append(contours[child][:, 0].astype(np.int64))
            child = hierarchy[0][child][0]
        joined = _bridged(contours[index][:, 0].astype(np.int64), holes)
        result.append(_at_least_three(_without_straight_points(joined)) + shift)
    return result


def fill_polygon(labels: npt.NDArray[np.uint8], points: npt.NDArray[np.floating], label: int) -> None:
    """Paint a polygon (N, 2) in pixels, borders included, into ``labels`` (H, W). Decimals are cut off, as YOLO's own reader does."""
    # Far outside is as good as further outside, and OpenCV counts in 32 bits.
    whole = np.clip(np.floor(points), -(1 << 20), 1 << 20).astype(np.int32)
    cv2.fillPoly(labels, [whole], label)


def _bridged(outer: Points, holes: list[Points]) -> Points:
    """One contour of an outer one and holes. The nearest hole is joined first: a bridge between nearest points crosses no other contour."""
    path = outer
    left = list(holes)
    nearest = [_nearest(path, hole) for hole in left]
    while left:
        index = min(range(len(left)), key=lambda entry: nearest[entry][0])
        hole, (_, start, end) = left.pop(index), nearest.pop(index)
        at = int(np.flatnonzero((path == start).all(axis=1))[0])
        turn = int(np.flatnonzero((hole == end).all(axis=1))[0])
        loop = np.concatenate([hole[turn:], hole[: turn + 1]])
        path = np.concatenate([path[: at + 1], loop, path[at:]])
        for other, still in enumerate(left):
            found = _nearest(hole, still)
            if found[0] < nearest[other][0]:
                nearest[other] = found
    return path


def _nearest(first: Points, second: Points) -> tuple[float, Points, Points]:
    """Distance and the two points where contours are nearest."""
    distances, indices = cKDTree(first).query(second)
    best = int(np.argmin(distances))
    return float(distances[best]), first[indices[best]], second[best]


def _without_straight_points(points: Points) -> Points:
    """A closed contour without the points at which it goes straight on."""
    if len(points) < 3:
        return points
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    crossed = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    ahead = (before * after).sum(axis=1) > 0
    kept = points[~((crossed == 0) & ahead)]
    return kept if len(kept) else points[:1]


def _at_least_three(points: Points) -> Points:
    """Readers drop what has fewer than three points: a pixel or a line gets its last point again."""
    return points if len(points) >= 3 else np.concatenate([points, np.repeat(points[-1:], 3 - len(points), axis=0)])
