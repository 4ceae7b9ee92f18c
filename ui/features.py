"""The tab "Features": what the network sees, as colours that mean the same in every photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.errors import StegoError
from stego_app.demo_images import example_images
from stego_app.pca_view import pca_view
from ui.desk import Desk
from ui.held import Held
from ui.offline import uploaded  # before Gradio
from ui.pictures import share_text
from ui.seen import SPACE_CHOICES, Seen, look_at, seen_before
from ui.wiring import LATEST, Updates, browser_tab, on
from ui.workshop import Workshop

import gradio as gr  # isort: skip

MOST = 8
"""Photos shown together."""

_LEAD = "Every patch becomes a colour (PCA of its features): **alike colours are the same kind of thing to the network**, within and across photos."
_COMPONENTS = [("1, 2, 3", 0), ("4, 5, 6", 3), ("7, 8, 9", 6)]
_GAP = 8


@dataclass(frozen=True)
class Shelf:
    """Photos looked at together, encoded by the segmenter ``model``."""

    model: str
    photos: tuple[Seen, ...]

    @property
    def pixels(self) -> int:
        """Memory held, counted in pixels."""
        return sum(photo.pixels for photo in self.photos)


def shelf_pictures(photos: Sequence[Seen], space: str, first: int) -> tuple[list[tuple[npt.NDArray[np.uint8], str]], str]:
    """Each photo with its features beside it, (h, 2 w + gap, 3) uint8 and its name; and a line about how much is shown.

    Raises:
        StegoError: too few patches for that many components.
    """
    view = pca_view([photo.features[space] for photo in photos], first)
    pictures = []
    for photo, colors in zip(photos, view.pictures, strict=True):
        height, width = photo.picture.shape[:2]
        enlarged = np.asarray(Image.fromarray(colors).resize((width, height), Image.Resampling.BICUBIC))
        gap = np.full((height, _GAP, 3), 255, np.uint8)
        pictures.append((np.hstack([photo.picture, gap, enlarged]), photo.name))
    return pictures, f"Red, green and blue are components {first + 1} to {first + 3}: {share_text(view.share)} of what differs between patches"


class FeaturesTab:
    """Components and handlers of the tab.

    Args:
        shop: the page's means.
        desk: of the tab "Segment", whose photo is shown until others are dropped.
        model: the choice of a segmenter, above all tabs.
    """

    def __init__(self, shop: Workshop, desk: Desk, model: gr.Dropdown) -> None:
        self._shop = shop
        self._desk = desk
        self._model = model
        self._shelves: Held[Shelf] = Held(shop.held_pixels)
        gr.Markdown(_LEAD, elem_classes="lead")
        with gr.Row(elem_classes="board"):
            with gr.Column(scale=2, min_width=300):
                self.files = gr.File(label=f"Drop photos here (up to {MOST})", file_count="multiple", file_types=["image"], height=150, elem_id="feature-files")
                self.examples = gr.Button("Try the example photos", variant="primary", size="md", visible=bool(example_images()), elem_id="feature-examples")
                self.space = gr.Radio(SPACE_CHOICES, value="backbone", label="Features", elem_id="feature-space")
                self.first = gr.Radio(_COMPONENTS, value=0, label="Components as colours", elem_id="feature-first")
            with gr.Column(scale=3, min_width=320):
                self.gallery = gr.Gallery(
                    label="Photo and features",
                    columns=1,
                    height="auto",
                    object_fit="contain",
                    format="jpeg",
                    buttons=["fullscreen"],
                    allow_preview=False,
                    elem_id="feature-gallery",
                )
                self.status = gr.Markdown("", elem_id="feature-status", elem_classes="status")

    def wire(self, tab: gr.Tab) -> None:
        """Connect the tab's events."""
        look = [self.space, self.first]
        outputs = [self.gallery, self.status, self.files]
        nothing: Updates = {self.status: gr.skip()}
        busy: dict[str, Any] = {"show_progress_on": [self.gallery]}
        on(tab.select, self.entered, look, outputs, nothing, **busy)
        for control in look:
            on(control.input, self.entered, look, outputs, nothing, **{**busy, **LATEST})
        on(self.files.change, self.opened, [self.files, self._model, *look], outputs, nothing, preprocess=False, **{**busy, **LATEST})
        on(self.examples.click, self.shown, [self._model, *look], outputs, nothing, **busy)

    def drop(self, tab: str) -> None:
        """Forget the photos of ``tab``."""
        with self._shelves.changing(tab):
            self._shelves.drop(tab)

    def entered(self, space: str, first: int, request: gr.Request) -> Updates:
        """The tab is looked at, or another look is wanted."""
        tab = browser_tab(request)
        with self._shelves.changing(tab):
            shelf, sitting = self._shelves.get(tab), self._desk.find(tab)
            if shelf is None and sitting is not None:
                shelf = self._shelves.put(tab, Shelf(sitting.model, (seen_before(sitting),)))
        return {self.status: ""} if shelf is None else self._show(shelf, space, first)

    def opened(self, payload: list[dict[str, Any]] | None, model: str, space: str, first: int, request: gr.Request) -> Updates:
        """Photos have come, or gone."""
        if not payload:
            self._shelves.drop(browser_tab(request))
            return {self.gallery: None, self.status: ""}
        if len(payload) > MOST:
            raise StegoError(f"{len(payload)} photos: expected at most {MOST} at a time")
        return self._open([uploaded(entry, self._shop.files) for entry in payload], model, space, first, browser_tab(request))

    def shown(self, model: str, space: str, first: int, request: gr.Request) -> Updates:
        """The example photos."""
        return self._open(example_images()[:MOST], model, space, first, browser_tab(request))

    def _open(self, paths: Sequence[Path], model: str, space: str, first: int, tab: str) -> Updates:
        photos = tuple(look_at(self._shop, path, model) for path in paths)
        with self._shelves.changing(tab):
            shelf = self._shelves.put(tab, Shelf(model, photos))
        return self._show(shelf, space, first)

    def _show(self, shelf: Shelf, space: str, first: int) -> Updates:
        pictures, status = shelf_pictures(shelf.photos, space, first)
        return {self.gallery: pictures, self.status: status}
