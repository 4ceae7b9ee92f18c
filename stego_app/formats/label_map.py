"""What every format is made from and read into: classes, and one image's label map."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.classes import IGNORED
from stego_app.formats.image_file import ImageFile
from stego_app.images import read_index_image
from stego_app.palette import palette

MAX_LABEL_PIXELS = 4_000_000_000
"""The most pixels of a label map that is read whole: one byte each."""


@dataclass(frozen=True)
class Classes:
    """Names (K) and colours (K, 3) uint8 of the classes, by label."""

    names: tuple[str, ...]
    colors: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, names: Iterable[str], colors: Iterable[Iterable[int] | None] | None = None) -> Classes:
        """Classes with the colours given; where there is none, the palette's.

        Raises:
            StegoError: more classes than an 8-bit label map holds.
        """
        listed = tuple(names)
        if len(listed) > IGNORED:
            raise StegoError(f"{len(listed)} classes: expected at most {IGNORED}")
        table = palette(len(listed))
        for row, color in enumerate(colors or ()):
            if color is not None:
                table[row] = tuple(color)
        return cls(listed, table)


@dataclass(frozen=True)
class LabelMap:
    """One image's labels.

    Attributes:
        name: of the image, relative to its root, POSIX, with suffix.
        key: what files about it are called, without suffix; no two alike in a set.
        source: (H, W) uint8 class indices, 255 = no class; or the index PNG that holds them.
        image: where the image itself is; None where it is not known.
    """

    name: str
    key: str
    source: npt.NDArray[np.uint8] | Path
    image: ImageFile | None = None

    @cached_property
    def labels(self) -> npt.NDArray[np.uint8]:
        """(H, W) uint8.

        Raises:
            StegoError: the file is gone, damaged, or holds values above 255.
        """
        if not isinstance(self.source, Path):
            return self.source
        values = read_index_image(self.source, max_pixels=MAX_LABEL_PIXELS)
        if values.size and (values.min() < 0 or values.max() > IGNORED):
            raise StegoError(f"{self.source}: values up to {values.max()}; expected class indices up to {IGNORED}")
        return values.astype(np.uint8)

    @property
    def present(self) -> list[int]:
        """The labels that occur, without 255."""
        return [int(label) for label in np.flatnonzero(np.bincount(self.labels.ravel(), minlength=IGNORED + 1)[:IGNORED])]


@dataclass(frozen=True)
class LabelSet:
    """What a reader gives: the classes, the names of the images, and the label maps one by one in the same order."""

    classes: Classes
    names: list[str]
    maps: Iterable[LabelMap]


def blank(height: int, width: int, where: object) -> npt.NDArray[np.uint8]:
    """A label map (H, W) without classes.

    Raises:
        StegoError: a size that no image has.
    """
    if not 0 < height * width <= MAX_LABEL_PIXELS:
        raise StegoError(f"{where}: an image of {height} × {width} pixels; expected 1 to {MAX_LABEL_PIXELS:,} in all")
    return np.full((height, width), IGNORED, dtype=np.uint8)


def checked_labels(item: LabelMap, classes: Classes) -> npt.NDArray[np.uint8]:
    """The labels of ``item``.

    Raises:
        StegoError: a label has no class.
    """
    beyond = [label for label in item.present if label >= len(classes.names)]
    if beyond:
        raise StegoError(f"{item.name}: label {beyond[0]} has no class; expected 0 to {len(classes.names) - 1}, or {IGNORED} for none")
    return item.labels
