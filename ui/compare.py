"""The tab "Compare": one photo, two models (or one at two settings), side by side, and where they disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.compare_view import agreement, differing_picture
from stego_app.demo_images import example_images
from stego_app.images import read_image
from ui.contract import SegmentationLike, SegmenterLike
from ui.desk import Desk
from ui.held import Held
from ui.offline import uploaded  # before Gradio
from ui.parts import granularity, sharpening
from ui.pictures import reduce_labels, reduce_picture, screen_size, share_text
from ui.sitting import Sitting, in_range
from ui.wiring import LATEST, Updates, browser_tab, on, say
from ui.workshop import Workshop

import gradio as gr  # isort: skip

_LEAD = "**Two models on one photo**, or one model at two settings. Classes are matched by where they lie, so names and colours need not agree."
_SIDES = ("left", "right")


class Setting(NamedTuple):
    """How one side segments: the segmenter's name, granularity, strength of the CRF."""

    model: str
    classes: int
    crf: float


@dataclass(frozen=True)
class Bench:
    """A photo and its features by the segmenter's name, so that moving a slider does not encode again.

    Beside its features stands the segmenter that made them: under its name there may be another by now.
    """

    image: npt.NDArray[np.uint8]
    encoded: Mapping[str, tuple[SegmenterLike, Any]]

    @property
    def pixels(self) -> int:
        """Pixels of the photo, once for each encoding, which holds it too."""
        return int(self.image.shape[0] * self.image.shape[1]) * max(1, len(self.encoded))


@dataclass(frozen=True)
class Comparison:
    """Overlays (h, w, 3) uint8 of both sides, where they differ, and a line about it."""

    overlays: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
    differing: npt.NDArray[np.uint8]
    status: str


class CompareDesk:
    """The tab's work, for all browsers."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop
        self._benches: Held[Bench] = Held(shop.held_pixels)

    def open(self, tab: str, path: Path) -> None:
        """Take the image file at ``path``.

        Raises:
            StegoError: not an image, or too large.
        """
        image = read_image(path, name=path.name, max_pixels=self.shop.max_pixels)
        with self._benches.changing(tab):
            self._benches.put(tab, Bench(image, {}))

    def begin(self, tab: str, sitting: Sitting | None) -> bool:
        """Whether ``tab`` has a photo; where it has none yet, the one of the tab "Segment" is taken."""
        with self._benches.changing(tab):
            if self._benches.get(tab) is None and sitting is not None:
                self._benches.put(tab, Bench(sitting.encoded.image, {}))
            return self._benches.get(tab) is not None

    def drop(self, tab: str) -> None:
        """Forget the photo of ``tab``."""
        with self._benches.changing(tab):
            self._benches.drop(tab)

    def compare(self, tab: str, left: Setting, right: Setting) -> Comparison:
        """Segment the photo of ``tab`` both ways.

        Raises:
            StegoError: there is no photo (any more), or an unknown model.
        """
        with self._benches.changing(tab):
            first, second = self._segment(tab, left), self._segment(tab, right)
            image = self._benches.need(tab).image
        size = screen_size(image.shape[0], image.shape[1])
        found = agreement(first.labels, second.labels)
        counts = " and ".join(str(len(segmentation.areas())) for segmentation in (first, second))
        return Comparison(
            (reduce_picture(first.overlay(0.6), size), reduce_picture(second.overlay(0.6), size)),
            differing_picture(reduce_picture(image, size), reduce_labels(found.differ, size)),
            f"They agree on **{share_text(found.share)}** of the pixels once classes are matched · {counts} classes in this photo",
        )

    def _segment(self, tab: str, setting: Setting) -> SegmentationLike:
        bench = self._benches.need(tab)
        segmenter = self.shop.catalog.get(setting.model)
        maker, encoded = bench.encoded.get(setting.model, (None, None))
        if maker is not segmenter:
            encoded = self.shop.run(lambda: segmenter.encode(bench.image))
            self._benches.put(tab, replace(bench, encoded={**bench.encoded, setting.model: (segmenter, encoded)}))
        classes = in_range(setting.classes, segmenter)
        found: SegmentationLike = self.shop.run(lambda: segmenter.decode(encoded, classes=classes, crf=setting.crf))
        return found


class CompareTab:
    """Components and handlers of the tab.

    Args:
        benches: does the work.
        desk: of the tab "Segment", whose photo is taken until another is dropped.
    """

    def __init__(self, benches: CompareDesk, desk: Desk) -> None:
        self._benches = benches
        self._desk = desk
        catalog = benches.shop.catalog
        names = catalog.names()
        with gr.Row(elem_classes="tight low"):
            gr.Markdown(_LEAD, elem_classes="lead")
            self.examples = gr.Button(
                "Try an example photo", variant="primary", size="md", scale=0, min_width=200, visible=bool(example_images()), elem_id="compare-examples"
            )
        self.image = gr.Image(
            label="Photo",
            type="filepath",
            sources=["upload", "clipboard"],
            height=170,
            buttons=[],
            placeholder="Drop a photo here\nor click to choose one",
            alt_text="The photo",
            elem_id="compare-photo",
        )
        self._models: list[Any] = []
        self._classes: list[Any] = []
        self._crfs: list[Any] = []
        self._overlays: list[Any] = []
        with gr.Row(elem_classes="pair"):
            for side, where in enumerate(_SIDES):
                with gr.Column(min_width=280):
                    self._side(where, names[min(side, len(names) - 1)], names, coarse=side == 1 and len(names) == 1)
        self.status = gr.Markdown("", elem_id="compare-status", elem_classes="status")
        self.differing = gr.Image(
            label="Where they disagree",
            interactive=False,
            visible=False,
            format="jpeg",
            buttons=["fullscreen"],
            alt_text="The photo; magenta where both sides disagree",
            elem_id="compare-differing",
        )

    def _side(self, where: str, name: str, names: list[str], *, coarse: bool) -> None:
        segmenter = self._benches.shop.catalog.get(name)
        bounds = granularity(segmenter)
        if coarse:  # one model against itself shows something only at another granularity
            bounds["value"] = max(1, bounds["value"] // 2)
        self._overlays.append(
            gr.Image(
                label=where.capitalize(),
                interactive=False,
                format="jpeg",
                buttons=["fullscreen"],
                alt_text=f"The photo, tinted by the {where} model's classes",
                elem_id=f"compare-{where}",
            )
        )
        with gr.Group():
            self._models.append(gr.Dropdown(names, value=name, label=f"Model, {where}", elem_id=f"compare-model-{where}"))
            self._classes.append(gr.Slider(**bounds, step=1, label=f"Granularity, {where}", elem_id=f"compare-classes-{where}"))
            self._crfs.append(sharpening(elem_id=f"compare-crf-{where}"))

    def wire(self, tab: gr.Tab) -> None:
        """Connect the tab's events."""
        settings = [self._models[0], self._classes[0], self._crfs[0], self._models[1], self._classes[1], self._crfs[1]]
        outputs = [self.image, *self._overlays, self.status, self.differing, *self._classes, *self._models]
        nothing: Updates = {self.status: gr.skip()}
        busy: dict[str, Any] = {"show_progress_on": self._overlays}
        on(tab.select, self.entered, settings, outputs, nothing, **busy)
        on(self.image.change, self.opened, [self.image, *settings], outputs, nothing, preprocess=False, **{**busy, **LATEST})
        on(self.examples.click, self.shown, settings, outputs, nothing, **busy)
        for side in (0, 1):
            on(self._models[side].input, self.chosen_model(side), settings, outputs, nothing, **{**busy, **LATEST})
            for control in (self._classes[side], self._crfs[side]):
                on(control.input, self.again, settings, outputs, nothing, **{**busy, **LATEST})

    def entered(self, request: gr.Request, *settings: Any) -> Updates:
        """The tab is looked at; models may have been added since."""
        tab = browser_tab(request)
        names = self._benches.shop.catalog.names()
        choices: Updates = {model: gr.Dropdown(choices=names) for model in self._models}
        return {**choices, **(self._show(tab, settings) if self._benches.begin(tab, self._desk.find(tab)) else {})}

    def opened(self, payload: dict[str, Any] | None, request: gr.Request, *settings: Any) -> Updates:
        """A photo has come, or gone."""
        tab = browser_tab(request)
        if payload is None:
            self._benches.drop(tab)
            return {**dict.fromkeys(self._overlays), self.status: "", self.differing: gr.Image(visible=False)}
        try:
            self._benches.open(tab, uploaded(payload, self._benches.shop.files))
        except StegoError as error:
            say(error)
            return {self.image: None}
        return self._show(tab, settings)

    def shown(self, request: gr.Request, *settings: Any) -> Updates:
        """An example photo: its own change does the rest."""
        del request, settings
        return {self.image: str(example_images()[0])}

    def chosen_model(self, side: int) -> Any:
        """The handler of another model on one side: its slider gets the model's bounds."""

        def perform(request: gr.Request, *settings: Any) -> Updates:
            values = list(settings)
            bounds = granularity(self._benches.shop.catalog.get(values[3 * side]))
            values[3 * side + 1] = bounds["value"]
            there = self._benches.begin(browser_tab(request), None)
            return {self._classes[side]: gr.Slider(**bounds), **(self._show(browser_tab(request), values) if there else {})}

        return perform

    def again(self, request: gr.Request, *settings: Any) -> Updates:
        """Another granularity or strength of the CRF."""
        there = self._benches.begin(browser_tab(request), None)
        return self._show(browser_tab(request), settings) if there else {self.status: ""}

    def _show(self, tab: str, values: Sequence[Any]) -> Updates:
        left, right = (Setting(str(values[at]), int(values[at + 1]), float(values[at + 2])) for at in (0, 3))
        shown = self._benches.compare(tab, left, right)
        pictures = dict(zip(self._overlays, shown.overlays, strict=True))
        return {**pictures, self.status: shown.status, self.differing: gr.Image(value=shown.differing, visible=True)}
