"""What the page does when something is clicked: plain functions over sittings, without layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy.typing as npt

from models.errors import StegoError
from stego_app.images import read_image
from ui.contract import CatalogLike, SegmentationLike
from ui.downloads import Downloads
from ui.pictures import Layers, Look, layers, reduce_picture, share_text
from ui.sitting import Sitting, Sittings, begin, decode_again, edit, file_stem, undo

T = TypeVar("T")
Runner = Callable[[Callable[[], Any]], Any]
"""Calls a function where segmenting is meant to happen, e.g. on the service's worker, and returns its result."""

_HELD_IMAGES = 6  # largest images held in memory at once, over all tabs


@dataclass(frozen=True)
class View:
    """Everything the page shows of a sitting."""

    picture: npt.NDArray[Any]
    layers: Layers
    overlay: npt.NDArray[Any]
    status: str
    choices: list[tuple[str, int]]
    own_edits: int


class Desk:
    """The page's work, for all tabs.

    Args:
        catalog: the segmenters on offer.
        max_pixels: largest image taken.
        files: folder for downloads, of this process alone.
        run: where segmenting happens; at once, in the calling thread, if None.
    """

    def __init__(self, catalog: CatalogLike, *, max_pixels: int, files: Path, run: Runner | None = None) -> None:
        self.catalog = catalog
        self._max_pixels = max_pixels
        self._run = run or (lambda work: work())
        self._sittings = Sittings(max_pixels * _HELD_IMAGES)
        self._downloads = Downloads(files)

    def open(self, tab: str, path: Path, model: str, *, classes: int, crf: bool) -> Sitting:
        """Segment the image file at ``path``.

        Raises:
            StegoError: not an image, too large, an unknown model, or no turn to be had.
        """
        image = read_image(path, name=path.name, max_pixels=self._max_pixels)
        segmenter = self.catalog.get(model)
        before = self._sittings.get(tab)
        return self._keep(tab, self._run(lambda: begin(image, path.name, model, segmenter, classes=classes, crf=crf, before=before)))

    def again(self, tab: str, *, classes: int, crf: bool) -> Sitting | None:
        """Decode at another granularity; None while there is no image."""
        sitting = self._sittings.get(tab)
        if sitting is None:
            return None
        return self._keep(tab, self._run(lambda: decode_again(sitting, classes=classes, crf=crf)))

    def edit(self, tab: str, operation: str, labels: list[int], name: str = "") -> Sitting:
        """Rename, merge, split or ignore classes."""
        sitting = self.need(tab)
        return self._keep(tab, self._run(lambda: edit(sitting, operation, labels, name)))

    def undo(self, tab: str) -> Sitting:
        """Take back the latest edit."""
        sitting = self.need(tab)
        return self._keep(tab, self._run(lambda: undo(sitting)))

    def find(self, tab: str) -> Sitting | None:
        """The sitting of ``tab``; None where there is no image (any more)."""
        return self._sittings.get(tab)

    def need(self, tab: str) -> Sitting:
        """The sitting of ``tab``.

        Raises:
            StegoError: there is none (any more).
        """
        sitting = self._sittings.get(tab)
        if sitting is None:
            raise StegoError("there is no image here (any more): drop it once again")
        return sitting

    def drop(self, tab: str) -> None:
        """Forget the image of ``tab`` and what it has downloaded."""
        self._sittings.drop(tab)
        self._downloads.drop(tab)

    def download(self, tab: str, kind: str, look: Look) -> Path:
        """Write a file for ``tab`` to fetch; it stays until the tab's next one, or until its image is dropped.

        Args:
            kind: "index" (PNG with palette), "overlay" (JPEG), both at the image's own size, or "segmenter" (with this person's edits).

        Raises:
            StegoError: there is no image (any more), or the disk is full.
        """
        sitting = self.need(tab)
        segmentation = sitting.segmentation
        if kind == "index":
            return self._downloads.write(tab, f"{sitting.stem}-classes.png", lambda path: path.write_bytes(segmentation.to_index_png()))
        if kind == "overlay":
            jpeg = segmentation.to_overlay_jpeg(look.alpha, fade=look.fade if segmentation.has_confidence else 0.0)
            return self._downloads.write(tab, f"{sitting.stem}-overlay.jpg", lambda path: path.write_bytes(jpeg))
        if kind == "segmenter":
            return self._downloads.write(tab, f"{file_stem(sitting.model)}-edited.safetensors", sitting.segmenter.save)
        raise ValueError(kind)

    def view(self, sitting: Sitting, look: Look) -> View:
        """What to show of ``sitting``; nothing is faded where its segmenter cannot tell confidence."""
        segmentation = sitting.segmentation
        known = segmentation.has_confidence
        look = look if known else replace(look, fade=0.0)
        size = (sitting.picture.shape[0], sitting.picture.shape[1])
        areas = segmentation.areas()
        height, width = segmentation.labels.shape
        found = f"{len(areas)} of {len(segmentation.names)} classes are in this image"
        overlay = segmentation.overlay(look.alpha, look.fade)
        return View(
            picture=sitting.picture,
            layers=layers(segmentation, look, size),
            overlay=reduce_picture(overlay, size),
            status=" · ".join([f"{width} × {height} pixels", found, _confidence(segmentation), f"{sitting.seconds:.1f} s"]),
            choices=[(f"{area['name']} · {share_text(area['share'])}", int(area["label"])) for area in areas],
            own_edits=sitting.own_edits,
        )

    def _keep(self, tab: str, sitting: Sitting) -> Sitting:
        self._sittings.put(tab, sitting)
        return sitting


def _confidence(segmentation: SegmentationLike) -> str:
    """The image's confidence in words for the status line."""
    if not segmentation.has_confidence:
        return "this model cannot tell its confidence"
    mean = segmentation.image_confidence
    return (
        "no pixel has a class"
        if mean is None
        else f"confidence {share_text(mean)}, more familiar than {share_text(segmentation.familiarity)} of the images of training"
    )
