"""Many images segmented one after another, kept as small files: index PNGs, and reduced overlays to look at."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.errors import StegoError
from stego_app.formats.image_file import ImageFile
from stego_app.formats.label_map import Classes, LabelMap
from stego_app.images import find_images, read_image
from stego_app.labelling.names import output_names
from ui.contract import SegmentationLike, SegmenterLike
from ui.pictures import reduce_picture, screen_size
from ui.workshop import Workshop

THUMBNAIL = 480
"""Longest side of the pictures in an album, in pixels."""

_KEPT = 20  # albums on disk at once, over all browsers
_PATIENCE = 30  # times that an image waits for a busy service


@dataclass(frozen=True)
class Page:
    """One image of an album: its file, its label map, its picture, and the share of each class in it, (K,)."""

    name: str
    label_map: LabelMap
    thumbnail: Path
    shares: npt.NDArray[np.float64]


@dataclass
class Album:
    """Results so far; ``place`` is a folder of its own."""

    place: Path
    total: int
    classes: Classes
    pages: list[Page] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> int:
        """Images that are over, well or badly."""
        return len(self.pages) + len(self.failures)

    @property
    def seconds(self) -> float:
        """Since the first image was begun."""
        return time.monotonic() - self.began

    def shares(self) -> npt.NDArray[np.float64]:
        """Mean share (K,) of each class over the images."""
        return np.mean([page.shares for page in self.pages], axis=0) if self.pages else np.zeros(len(self.classes.names))


class Albums:
    """The album of each browser tab; the oldest beyond a number are removed.

    Args:
        files: where their folders go.
    """

    def __init__(self, files: Path) -> None:
        self._files = files
        self._albums: OrderedDict[str, Album] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, tab: str) -> Album | None:
        """The album of ``tab``."""
        with self._lock:
            return self._albums.get(tab)

    def begin(self, tab: str, total: int, classes: Classes) -> Album:
        """An empty album in place of the tab's last one."""
        self.drop(tab)
        album = Album(Path(tempfile.mkdtemp(dir=self._files)), total, classes)
        with self._lock:
            self._albums[tab] = album
            gone = [self._albums.popitem(last=False)[1] for _ in range(len(self._albums) - _KEPT)]
        for old in gone:
            shutil.rmtree(old.place, ignore_errors=True)
        return album

    def drop(self, tab: str) -> None:
        """Remove the album of ``tab``."""
        with self._lock:
            album = self._albums.pop(tab, None)
        if album is not None:
            shutil.rmtree(album.place, ignore_errors=True)


def folder_images(folder: Path) -> list[tuple[PurePosixPath, Path]]:
    """Name below ``folder``, and path, of each image in it.

    Raises:
        StegoError: no such folder, or no image in it.
    """
    return [(PurePosixPath(path.relative_to(folder).as_posix()), path) for path in find_images(folder)]


def distinct_uploads(paths: Sequence[Path]) -> list[tuple[PurePosixPath, Path]]:
    """Name and path of each uploaded file; a browser gives no folders, so equal names are numbered."""
    named: dict[PurePosixPath, Path] = {}
    for path in paths:
        name, number = PurePosixPath(path.name), 2
        while name in named:
            name, number = PurePosixPath(f"{path.stem}-{number}{path.suffix}"), number + 1
        named[name] = path
    return list(named.items())


def segment_all(
    shop: Workshop, albums: Albums, tab: str, segmenter: SegmenterLike, images: Sequence[tuple[PurePosixPath, Path]], *, classes: int, crf: float
) -> Iterator[Album]:
    """Segment ``images`` one by one, giving the album at the beginning and after each; ends early where the tab has left or begun anew.

    An image that cannot be read is a failure of the album, not its end.
    """
    table = segmenter.table(classes)
    album = albums.begin(tab, len(images), Classes(tuple(table.names), table.palette))
    keys = output_names([name for name, _ in images])
    yield album
    for number, (name, path) in enumerate(images):
        try:
            image = read_image(path, name=str(name), max_pixels=shop.max_pixels)
            segmentation = _patiently(shop, segmenter, image, classes, crf)
        except StegoError as error:
            segmentation, reason = None, str(error)
        if albums.get(tab) is not album:
            return
        if segmentation is None:
            album.failures.append((str(name), reason))
        else:
            album.pages.append(_page(album, number, name, keys[name], path, segmentation))
        yield album


def _patiently(shop: Workshop, segmenter: SegmenterLike, image: npt.NDArray[np.uint8], classes: int, crf: float) -> SegmentationLike:
    """Segment one image, waiting for a turn where the service is busy: a folder is in no hurry."""
    for attempt in range(_PATIENCE):
        try:
            found: SegmentationLike = shop.run(lambda: segmenter.decode(segmenter.encode(image), classes=classes, crf=crf))
        except StegoError as error:
            # What is only busy says when to come back; everything else is this image's own trouble.
            wait = getattr(error, "retry_after", None)
            if wait is None or attempt == _PATIENCE - 1:
                raise
            time.sleep(min(float(wait), 5.0))
        else:
            return found
    raise AssertionError("the last attempt returns or raises")


def _page(album: Album, number: int, name: PurePosixPath, key: str, path: Path, segmentation: SegmentationLike) -> Page:
    labels = album.place / f"{number}.png"
    labels.write_bytes(segmentation.to_index_png())
    overlay = segmentation.overlay(0.6)
    thumbnail = album.place / f"{number}.jpg"
    Image.fromarray(reduce_picture(overlay, screen_size(overlay.shape[0], overlay.shape[1], THUMBNAIL))).save(thumbnail, quality=85)
    shares = np.zeros(len(album.classes.names))
    for area in segmentation.areas():
        shares[area["label"]] = area["share"]
    return Page(str(name), LabelMap(str(name), key, labels, ImageFile(path, private=True)), thumbnail, shares)
