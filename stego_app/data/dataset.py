"""What every layout is read into: samples, class names, and the rule that turns stored label values into classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.images import read_image, read_index_image

Item = TypeVar("Item")

VOID = 255
"""The class of pixels that count neither for nor against."""

_UNKNOWN = -1


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    Attributes:
        image: its file.
        key: its path below the folder of images, POSIX, without suffix; unique in the data set.
        label: the file of its labels, or None where it has none.
    """

    image: Path
    key: str
    label: Path | None = None


@dataclass(frozen=True)
class LabelRule:
    """Stored label values to classes: ``table`` (256,) int16 holds the class of each value, `VOID`, or -1 where a value must not occur.

    ``expected`` says in words which values may occur.
    """

    table: npt.NDArray[np.int16]
    expected: str

    @classmethod
    def of(cls, classes: Mapping[int, int], *, void: Iterable[int] = (VOID,), expected: str) -> LabelRule:
        """The rule that sends each key of ``classes`` to its value and the values ``void`` to void."""
        table = np.full(256, _UNKNOWN, dtype=np.int16)
        table[list(void)] = VOID
        for value, label in classes.items():
            table[value] = label
        return cls(table, expected)

    @classmethod
    def plain(cls, classes: int | None, void: int = VOID) -> LabelRule:
        """Values are classes already; any of 0 to 254 if their number is not known."""
        last = VOID - 1 if classes is None else classes - 1
        return cls.of({value: value for value in range(last + 1) if value != void}, void={void, VOID}, expected=f"0 to {last}, or {void} for void")

    def apply(self, values: npt.NDArray[np.integer], path: Path) -> npt.NDArray[np.uint8]:
        """Classes (H, W) uint8 of stored ``values`` (H, W).

        Raises:
            StegoError: values that the rule does not know; names ``path`` and the values.
        """
        inside = (values >= 0) & (values < len(self.table))
        classes = np.where(inside, self.table[np.where(inside, values, 0)], _UNKNOWN)
        if (classes == _UNKNOWN).any():
            unknown = np.unique(values[classes == _UNKNOWN])
            shown = ", ".join(str(value) for value in unknown[:8]) + (", …" if len(unknown) > 8 else "")
            raise StegoError(f"{path}: unknown label values {shown}; expected {self.expected}")
        return classes.astype(np.uint8)


@dataclass(frozen=True)
class Dataset:
    """Images with labels, in a fixed order.

    Attributes:
        name: the layout and split, for reports.
        root: its folder.
        samples: sorted by key within each split.
        class_names: names in the order of classes, or None where the layout does not say how many classes there are.
        rule: how stored label values become classes.
    """

    name: str
    root: Path
    samples: Sequence[Sample]
    class_names: tuple[str, ...] | None
    rule: LabelRule

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def labelled(self) -> list[Sample]:
        """The samples that have labels."""
        return [sample for sample in self.samples if sample.label is not None]

    def read_image(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB.

        Raises:
            ImageError: the file cannot be read.
        """
        return read_image(sample.image)

    def reader(self) -> Callable[[Path], npt.NDArray[np.uint8]]:
        """`read_image` by the path of a sample: some layouts keep tiles in files that are no pictures."""
        by_path = {sample.image: sample for sample in self.samples}
        return lambda path: self.read_image(by_path[path])

    def read_label(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """Classes (H, W) uint8, 0 to K-1, 255 for void.

        Raises:
            StegoError: no label, a file that cannot be read, or values that the layout does not know.
        """
        if sample.label is None:
            raise StegoError(f"{sample.image}: has no label")
        return self.rule.apply(self.read_values(sample.label), sample.label)

    def read_values(self, path: Path) -> npt.NDArray[np.integer]:
        """The label values (H, W) as stored in the file at ``path``."""
        return read_index_image(path)

    def read_pair(self, sample: Sample) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Image (H, W, 3) and classes (H, W) of a sample.

        Raises:
            StegoError: as `read_image` and `read_label`, or the two differ in size.
        """
        image, label = self.read_image(sample), self.read_label(sample)
        if image.shape[:2] != label.shape:
            (height, width), (high, wide) = image.shape[:2], label.shape
            raise StegoError(f"{sample.label}: label is {wide} × {high}; expected {width} × {height}, the size of its image")
        return image, label


def thinned(dataset: Dataset, images: int) -> Dataset:
    """``dataset`` with at most ``images`` of its samples, evenly spaced from first to last.

    Raises:
        StegoError: ``images`` is not positive.
    """
    if images < 1:
        raise StegoError(f"{dataset.root}: {images} images of the split; expected 1 or more after '@'")
    if images >= len(dataset):
        return dataset
    return replace(dataset, name=f"{dataset.name}, {images} of {len(dataset)} images", samples=evenly(dataset.samples, images))


def evenly(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most ``limit`` of ``items``, evenly spaced from first to last; all if None."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[index] for index in np.linspace(0, len(items) - 1, limit).round().astype(int)]


def chosen_splits(split: str | None, present: Mapping[str, str], root: Path) -> list[str]:
    """The folders (or lists) of the splits asked for: ``split`` is one name, several joined by "+", or None for all.

    Args:
        split: as the user gave it.
        present: name to folder of the splits that exist under ``root``.
        root: for messages.

    Raises:
        StegoError: no split exists, or not one that was asked for.
    """
    if not present:
        raise StegoError(f"{root}: no split found")
    if split is None:
        return list(dict.fromkeys(present.values()))
    folders: list[str] = []
    for name in split.split("+"):
        folder = present.get(name) or next((value for value in present.values() if value == name), None)
        if folder is None:
            raise StegoError(f"{root}: no split {name!r}; expected one of {', '.join(present)}")
        folders.append(folder)
    return folders


def require_labels(samples: Sequence[Sample], expected: Sequence[Path], folder: Path) -> list[Sample]:
    """``samples`` with the label files ``expected``, or without any where the whole ``folder`` of labels is absent.

    Raises:
        StegoError: the folder is there, but not the label of each sample.
    """
    if not folder.is_dir():
        return list(samples)
    missing = [path for path in expected if not path.is_file()]
    if missing:
        raise StegoError(f"{missing[0]}: no such label file; {len(missing)} of {len(samples)} images have none")
    return [Sample(sample.image, sample.key, path) for sample, path in zip(samples, expected, strict=True)]


def read_list(path: Path) -> list[str]:
    """The lines of a list file, stripped, without empty ones.

    Raises:
        StegoError: the file cannot be read as text.
    """
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise StegoError(f"{path}: cannot be read as a list of names ({error})") from error
