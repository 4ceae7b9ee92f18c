"""What the tab "Segment" does when something is clicked: plain functions over sittings, without layout."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.images import read_image
from ui.contract import SegmentationLike
from ui.exports import Labelled, write_export
from ui.held import Held
from ui.naming import name_from_words
from ui.pictures import Layers, Look, layers, reduce_picture, share_text
from ui.sitting import Sitting, begin, decode_again, edit, file_stem, undo
from ui.workshop import Workshop

Wipe = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
"""Two pictures of one size, the one before and the one after."""


@dataclass(frozen=True)
class View:
    """Everything the page shows of a sitting."""

    picture: npt.NDArray[Any]
    layers: Layers
    overlay: npt.NDArray[Any]
    status: str
    choices: list[tuple[str, int]]
    changes: int


class Desk:
    """The tab's work, for all browsers."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop
        self._sittings: Held[Sitting] = Held(shop.held_pixels)

    def open(self, tab: str, path: Path, model: str, *, classes: int, crf: float) -> Sitting:
        """Segment the image file at ``path``.

        Raises:
            StegoError: not an image, too large, an unknown model, or no turn to be had.
        """
        image = read_image(path, name=path.name, max_pixels=self.shop.max_pixels)
        segmenter = self.shop.catalog.get(model)
        with self._sittings.changing(tab):
            before = self._sittings.get(tab)
            return self._sittings.put(tab, self.shop.run(lambda: begin(image, path, model, segmenter, classes=classes, crf=crf, before=before)))

    def again(self, tab: str, *, classes: int, crf: float) -> Sitting | None:
        """Decode at another granularity; None while there is no image."""
        with self._sittings.changing(tab):
            sitting = self._sittings.get(tab)
            if sitting is None:
                return None
            return self._sittings.put(tab, self.shop.run(lambda: decode_again(sitting, classes=classes, crf=crf)))

    def edit(self, tab: str, operation: str, labels: list[int], value: str = "") -> Sitting:
        """Rename, recolour, merge, split or ignore classes."""
        with self._sittings.changing(tab):
            sitting = self.need(tab)
            return self._sittings.put(tab, self.shop.run(lambda: edit(sitting, operation, labels, value)))

    def name(self, tab: str, labels: list[int], text: str) -> tuple[Sitting, str]:
        """Name classes from words; see `ui.naming.name_from_words`."""
        with self._sittings.changing(tab):
            sitting = self.need(tab)
            named, told = self.shop.run(lambda: name_from_words(sitting, labels, text))
            return self._sittings.put(tab, named), told

    def undo(self, tab: str) -> Sitting:
        """Take back the latest edit."""
        with self._sittings.changing(tab):
            sitting = self.need(tab)
            return self._sittings.put(tab, self.shop.run(lambda: undo(sitting)))

    def find(self, tab: str) -> Sitting | None:
        """The sitting of ``tab``; None where there is no image (any more)."""
        return self._sittings.get(tab)

    def need(self, tab: str) -> Sitting:
        """The sitting of ``tab``.

        Raises:
            StegoError: there is none (any more).
        """
        return self._sittings.need(tab)

    def drop(self, tab: str) -> None:
        """Forget the image of ``tab`` and what it has downloaded."""
        with self._sittings.changing(tab):  # what is being worked on would otherwise come back
            self._sittings.drop(tab)
        self.shop.downloads.drop(tab)

    def download(self, tab: str, kind: str, look: Look) -> Path:
        """Write a file for ``tab`` to fetch; it stays until the browser's next one, or until it leaves.

        Args:
            tab: the browser.
            kind: one of `ui.exports.choices` (at the image's own size), or "segmenter" (with this person's edits).
            look: how an overlay is drawn.

        Raises:
            StegoError: there is no image (any more), or the disk is full.
        """
        sitting = self.need(tab)
        if kind == "segmenter":
            return self.shop.downloads.write(tab, f"{file_stem(sitting.model)}-edited.safetensors", sitting.segmenter.save)
        return write_export(self.shop.downloads, tab, kind, Labelled(sitting.path, sitting.stem, sitting.segmentation), look)

    def save(self, tab: str, name: str) -> str:
        """Keep the segmenter with this person's edits on the server as ``name``; one line that says how to use it.

        Raises:
            StegoError: there is no image (any more), no place to save, or a name that is taken or cannot be one.
        """
        sitting = self.need(tab)
        if self.shop.save is None:
            raise StegoError("this server keeps no models: download the segmenter instead")
        name = name.strip()
        self.shop.save(name, sitting.segmenter)
        return f"Saved as **{name}**: REST takes it as `model={name}`; for the command line it is `{name}.safetensors` in this server's folder of models"

    def wipe(self, tab: str, kind: str, look: Look) -> Wipe | None:
        """Before and after: the "photo" and its overlay, or the overlay with rough "borders" and with sharpened ones; None without an image."""
        sitting = self.find(tab)
        if sitting is None:
            return None
        size = (sitting.picture.shape[0], sitting.picture.shape[1])
        after = reduce_picture(sitting.segmentation.overlay(look.alpha), size)
        if kind == "photo":
            return sitting.picture, after
        rough = self.shop.run(lambda: sitting.segmenter.decode(sitting.encoded, classes=sitting.classes, crf=0.0))
        return reduce_picture(rough.overlay(look.alpha), size), after

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
            changes=len(sitting.steps),
        )


def _confidence(segmentation: SegmentationLike) -> str:
    """The image's confidence in words for the status line."""
    if not segmentation.has_confidence:
        return "this model cannot tell its confidence"
    mean = segmentation.image_confidence
    return "no pixel has a class" if mean is None else f"confidence {share_text(mean)}"
