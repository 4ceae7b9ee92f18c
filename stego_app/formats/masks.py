"""Masks of the classes in a label map, their pieces and boxes, and label maps painted from masks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from stego_app.formats.label_map import Classes, LabelMap, checked_labels

Mask = npt.NDArray[np.bool_]


class Box(NamedTuple):
    """Left, top, width and height in pixels."""

    left: int
    top: int
    width: int
    height: int


class ClassMask(NamedTuple):
    """The pixels of a class, cut out to their box: ``mask`` is (box.height, box.width)."""

    label: int
    box: Box
    mask: Mask

    def whole(self, size: tuple[int, int]) -> Mask:
        """The mask at image size (H, W)."""
        result = np.zeros(size, dtype=bool)
        result[self.box.top : self.box.top + self.box.height, self.box.left : self.box.left + self.box.width] = self.mask
        return result


def class_masks(item: LabelMap, classes: Classes) -> Iterator[ClassMask]:
    """A mask for each class that occurs, in the order of labels."""
    labels = checked_labels(item, classes)
    for label in item.present:
        yield _cut_out(label, labels == label, 0, 0)


def pieces(mask: ClassMask) -> Iterator[ClassMask]:
    """The connected pieces (8 neighbours) of a mask."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.mask.astype(np.uint8), connectivity=8)
    for part in range(1, count):
        left, top, width, height = (int(value) for value in stats[part, :4])
        inside = parts[top : top + height, left : left + width] == part
        yield ClassMask(mask.label, Box(mask.box.left + left, mask.box.top + top, width, height), inside)


def _cut_out(label: int, mask: Mask, left: int, top: int) -> ClassMask:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = Box(left + int(columns[0]), top + int(rows[0]), int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1)
    return ClassMask(label, box, mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy())
