"""One person's work on one image: encoded once, decoded at any granularity, classes edited with undo."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from ui.contract import SegmentationLike, SegmenterLike
from ui.pictures import reduce_picture, screen_size


@dataclass(frozen=True)
class Sitting:
    """The state of a browser tab.

    Attributes:
        model: name of the segmenter in the catalog.
        segmenter: that segmenter, with this person's edits.
        path: of the image, as uploaded; it may be gone after a while.
        stem: its name for downloads, harmless in any file system.
        encoded: the image's features, opaque.
        picture: (h, w, 3) uint8, the image at the size of a screen.
        segmentation: at the image's own size.
        classes: granularity.
        crf: how strongly borders are refined, 0 to 2.
        seconds: that the last step took.
        steps: how many edits each change of this person made, in order; one undo takes back those of one change.
    """

    model: str
    segmenter: SegmenterLike
    path: Path
    stem: str
    encoded: Any
    picture: npt.NDArray[np.uint8]
    segmentation: SegmentationLike
    classes: int
    crf: float
    seconds: float
    steps: tuple[int, ...] = ()

    @property
    def pixels(self) -> int:
        """Pixels of the image, a measure of the memory this sitting holds."""
        return int(self.segmentation.labels.size)

    def changed(self, segmenter: SegmenterLike) -> Sitting:
        """With ``segmenter``, this one after one more change by this person; not decoded again."""
        made = len(segmenter.edits) - len(self.segmenter.edits)
        return replace(self, segmenter=segmenter, steps=(*self.steps, made))

    def label_in_legend(self, position: int) -> int | None:
        """Label of the class at a position of the legend; None where the legend is shorter by now than the one that was clicked."""
        areas = self.segmentation.areas()
        return int(areas[position]["label"]) if 0 <= position < len(areas) else None

    def label_at(self, x: int, y: int) -> int | None:
        """Label at a pixel of `picture`; None where the class is ignored."""
        labels = self.segmentation.labels
        row = min(labels.shape[0] - 1, max(0, int((y + 0.5) * labels.shape[0] / self.picture.shape[0])))
        column = min(labels.shape[1] - 1, max(0, int((x + 0.5) * labels.shape[1] / self.picture.shape[1])))
        label = int(labels[row, column])
        return label if label < len(self.segmentation.names) else None


def begin(
    image: npt.NDArray[np.uint8], path: Path, model: str, segmenter: SegmenterLike, *, classes: int, crf: float, before: Sitting | None = None
) -> Sitting:
    """Encode ``image`` and segment it. Changes made on ``before``, an earlier image with the same model, stay; without any, the model is as it is now."""
    begun = time.perf_counter()
    steps: tuple[int, ...] = ()
    if before is not None and before.model == model and before.steps:
        segmenter, steps = before.segmenter, before.steps
    classes = in_range(classes, segmenter)
    encoded = segmenter.encode(image)
    segmentation = segmenter.decode(encoded, classes=classes, crf=crf)
    picture = reduce_picture(image, screen_size(*image.shape[:2]))
    seconds = time.perf_counter() - begun
    return Sitting(model, segmenter, path, file_stem(path.name), encoded, picture, segmentation, classes, crf, seconds, steps)


def decode_again(sitting: Sitting, *, classes: int, crf: float) -> Sitting:
    """The same image at another granularity, or with the CRF switched; its features are not computed again."""
    begun = time.perf_counter()
    classes = in_range(classes, sitting.segmenter)
    segmentation = sitting.segmenter.decode(sitting.encoded, classes=classes, crf=crf)
    return replace(sitting, segmentation=segmentation, classes=classes, crf=crf, seconds=time.perf_counter() - begun)


def edit(sitting: Sitting, operation: str, labels: list[int], value: str = "") -> Sitting:
    """Rename, recolour, merge, split or ignore the classes with ``labels``.

    Args:
        sitting: the state so far.
        operation: which of these.
        labels: of the classes chosen.
        value: the new name, or the new colour as a colour picker gives it.

    Raises:
        StegoError: no class is chosen, the wrong number of them, or a name or colour that cannot be one.
    """
    table = sitting.segmenter.table(sitting.classes)
    groups = [table.leaves_of(label) for label in labels]
    if not groups:
        raise StegoError("choose a class first: click it in the picture, or pick it from the list")
    if operation == "merge":
        if len(groups) < 2:
            raise StegoError("choose two or more classes to merge")
        segmenter = sitting.segmenter.merge(groups)
    elif operation == "ignore":
        segmenter = sitting.segmenter
        for leaves in groups:
            segmenter = segmenter.ignore(leaves)
    elif len(groups) > 1:
        raise StegoError(f"choose a single class to {operation}")
    elif operation == "rename":
        segmenter = sitting.segmenter.rename(groups[0], value)
    elif operation == "recolour":
        segmenter = sitting.segmenter.recolour(groups[0], picked_color(value))
    elif operation == "split":
        segmenter = sitting.segmenter.split(groups[0])
    else:
        raise ValueError(operation)
    return decode_again(sitting.changed(segmenter), classes=sitting.classes, crf=sitting.crf)


def picked_color(text: str) -> str:
    """A colour picker's text as ``#rrggbb``: pickers also say ``rgba(31, 157, 143.5, 1)``. Other text is given back as it is, to be refused."""
    numbers = re.fullmatch(r"rgba?\(\s*([\d.]+)[\s,]+([\d.]+)[\s,]+([\d.]+)[^)]*\)", text.strip())
    if numbers is None:
        return text.strip()
    return "#" + "".join(f"{min(255, round(float(value))):02x}" for value in numbers.groups())


def undo(sitting: Sitting) -> Sitting:
    """Take back the latest change of this person.

    Raises:
        StegoError: there is none.
    """
    if not sitting.steps:
        raise StegoError("there is no change to undo")
    undone = replace(sitting, segmenter=sitting.segmenter.undo(sitting.steps[-1]), steps=sitting.steps[:-1])
    return decode_again(undone, classes=sitting.classes, crf=sitting.crf)


def file_stem(name: str) -> str:
    """A file name's stem reduced to letters, digits, dashes and underscores; at most 40 characters."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", Path(name).stem).strip("-")[:40] or "image"


def in_range(classes: int, segmenter: SegmenterLike) -> int:
    """``classes``, or the nearest number that ``segmenter`` can be cut into."""
    return min(max(1, classes), segmenter.max_classes)
