"""Images in class folders, split into those a probe learns from and those it is scored on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from pretrain.curate.embedding import Loader, file_loader, pixel_loader
from pretrain.source import FileSource, ImageSource, TarSource, folder_labels, open_source

Indices = npt.NDArray[np.int64]

TRAIN = "train"
TEST = ("test", "val", "validation")
EVERY = 4
"""Without a split of its own, every fourth image of a class is tested on."""


@dataclass(frozen=True)
class ClassImages:
    """Some images of a source, with their classes.

    Attributes:
        source: where they are read from.
        rows: (n,) their places in it.
        labels: (n,) classes, 0 to K - 1.
        names: of the classes.
    """

    source: ImageSource
    rows: Indices
    labels: Indices
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def loaders(self) -> list[Loader]:
        """What reads each image."""
        return [_loader(self.source, row) for row in self.rows.tolist()]

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Image ``index`` of these, (H, W, 3)."""
        return self.source.read(int(self.rows[index]))

    def kept(self, indices: list[int]) -> ClassImages:
        """Those at ``indices``."""
        return ClassImages(self.source, self.rows[indices], self.labels[indices], self.names)

    def thinned(self, limit: int | None, seed: int) -> ClassImages:
        """At most ``limit`` of them, drawn at random."""
        if limit is None or limit >= len(self):
            return self
        return self.kept(np.sort(np.random.default_rng(seed).choice(len(self), limit, replace=False)).tolist())


def class_split(root: Path) -> tuple[ClassImages, ClassImages, str] | None:
    """Training and test images of ``root``, and in words how they were split; None where it holds no class folders.

    Understood: ``train`` and ``test`` (or ``val``) as folders of class folders or as tar files of them; or class folders
    alone, of which every fourth image is tested on and classes of a single image are left out.

    Raises:
        StegoError: no such folder, no images, or a test class that is not in the training images.
    """
    if not root.exists():
        raise StegoError(f"{root}: no such folder")
    train = _part(root, TRAIN)
    test = next((part for name in TEST if (part := _part(root, name)) is not None), None)
    if train is not None and test is not None:
        return (*_joined(train, test, root), "trained on train, scored on test")
    source = open_source([root])
    labels, names = folder_labels(source)
    counts = np.bincount(labels)
    if len(names) < 2 or (counts > 1).sum() < 2:
        return None
    place = np.zeros(len(labels), np.int64)  # of each image inside its class
    for label in range(len(names)):
        own = np.flatnonzero(labels == label)
        place[own] = np.arange(len(own))
    # A class of two or three images is tested on its last one: every class with a test image has training images.
    tested = np.where(counts[labels] >= EVERY, place % EVERY == EVERY - 1, place == counts[labels] - 1)
    usable = counts[labels] > 1
    whole = [ClassImages(source, rows, labels[rows], tuple(names)) for rows in (np.flatnonzero(usable & ~tested), np.flatnonzero(usable & tested))]
    left_out = int((counts == 1).sum())
    return whole[0], whole[1], f"every fourth image of a class tested on{f'; {left_out} classes of one image left out' if left_out else ''}"


def _part(root: Path, name: str) -> ImageSource | None:
    if (root / f"{name}.tar").is_file():
        return TarSource(root / f"{name}.tar")
    folder = root / name
    if folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir()):
        return open_source([folder])
    return None


def _joined(train: ImageSource, test: ImageSource, root: Path) -> tuple[ClassImages, ClassImages]:
    train_labels, names = folder_labels(train)
    test_labels, test_names = folder_labels(test)
    unknown = [name for name in test_names if name not in names]
    if unknown:
        raise StegoError(f"{root}: the test class '{unknown[0]}' has no training images; the training classes are {', '.join(names[:8])}")
    number = np.array([names.index(name) for name in test_names], np.int64)
    return (
        ClassImages(train, np.arange(len(train_labels)), train_labels, tuple(names)),
        ClassImages(test, np.arange(len(test_labels)), number[test_labels], tuple(names)),
    )


def _loader(source: ImageSource, row: int) -> Loader:
    if isinstance(source, FileSource):
        return file_loader(source.paths[row])
    return pixel_loader(source.names[row], lambda: source.read(row))
