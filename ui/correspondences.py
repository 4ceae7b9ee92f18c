"""The tab "Correspondences": click a point and see which patches of two photos correspond to it, as in STEGO's figure."""

from __future__ import annotations

from typing import Any

from models.errors import StegoError
from stego_app.demo_images import example_images
from ui.desk import Desk
from ui.offline import uploaded  # before Gradio
from ui.pair import Pair, PairDesk, Point, view_pair
from ui.seen import SPACE_CHOICES
from ui.wiring import LATEST, Updates, browser_tab, on, say

import gradio as gr  # isort: skip

_LEAD = "**Click anything** in either photo: what glows looks the same to the network, in this photo and in the other. No labels were ever used."
_SIDES = [("First photo", 0), ("Second photo", 1)]
_EXAMPLES = ("lion", "cheetah1")


class CorrespondenceTab:
    """Components and handlers of the tab.

    Args:
        pairs: does the work.
        desk: of the tab "Segment", whose photo is the first one until another is dropped.
        model: the choice of a segmenter, above all tabs.
    """

    def __init__(self, pairs: PairDesk, desk: Desk, model: gr.Dropdown) -> None:
        self._pairs = pairs
        self._desk = desk
        self._model = model
        with gr.Row(elem_classes="tight low"):
            gr.Markdown(_LEAD, elem_classes="lead")
            self.examples = gr.Button(
                "Try two example photos", variant="primary", size="md", scale=0, min_width=220, visible=len(example_images()) > 1, elem_id="pair-examples"
            )
        self._drops: list[Any] = []
        self._views: list[Any] = []
        self._changes: list[Any] = []
        with gr.Row(elem_classes="pair"):
            for side, ordinal in enumerate(("first", "second")):
                with gr.Column(min_width=280):
                    self._photo(side, ordinal)
        self.status = gr.Markdown("", elem_id="pair-status", elem_classes="status")
        self._controls()

    def _photo(self, side: int, ordinal: str) -> None:
        drop = gr.Image(
            label=f"{ordinal.capitalize()} photo",
            type="filepath",
            sources=["upload", "clipboard"],
            height=300,
            buttons=[],
            placeholder=f"Drop the {ordinal} photo here\nor click to choose one",
            elem_id=f"pair-drop-{side}",
        )
        view = gr.Image(
            label=f"{ordinal.capitalize()} photo",
            interactive=False,
            visible=False,
            format="jpeg",
            buttons=[],
            alt_text=f"The {ordinal} photo; patches that correspond to the chosen point glow",
            elem_id=f"pair-view-{side}",
            elem_classes="clickable",
        )
        self._drops.append(drop)
        self._views.append(view)
        self._changes.append(gr.Button(f"Another {ordinal} photo", size="sm", visible=False, elem_id=f"pair-change-{side}"))

    def _controls(self) -> None:
        with gr.Row(elem_classes="tight low"):
            self.space = gr.Radio(
                SPACE_CHOICES, value="backbone", label="Compare by", info="What the backbone sees, or what the segmenter made of it", elem_id="pair-space"
            )
            self.low = gr.Slider(0, 0.9, 0.2, step=0.05, label="Glow from cosine", info="Higher shows the closest patches only", elem_id="pair-low")
        with gr.Accordion("Move the point without a mouse", open=False), gr.Row(elem_classes="tight"):
            self.side = gr.Radio(_SIDES, value=0, label="Point in", elem_id="pair-side")
            self.across = gr.Slider(0, 100, 50, step=1, label="Across, %", elem_id="pair-across")
            self.down = gr.Slider(0, 100, 50, step=1, label="Down, %", elem_id="pair-down")

    def wire(self, tab: gr.Tab) -> None:
        """Connect the tab's events."""
        look = [self.space, self.low]
        point = [self.side, self.across, self.down]
        outputs = [*self._drops, *self._views, *self._changes, *point, self.status]
        nothing: Updates = {self.status: gr.skip()}
        quiet: dict[str, Any] = {"show_progress": "hidden"}
        on(tab.select, self.entered, look, outputs, nothing, **quiet)
        for side in (0, 1):
            on(self._drops[side].upload, self.opened(side), [self._drops[side], self._model, *look], outputs, nothing, preprocess=False, **LATEST)
            on(self._changes[side].click, self.changed(side), look, outputs, nothing, **quiet)
            on(self._views[side].select, self.clicked(side), look, outputs, nothing, **{**quiet, **LATEST})
        on(self.examples.click, self.shown, [self._model, *look], outputs, nothing)
        for control in point:
            on(control.input, self.moved, [*point, *look], outputs, nothing, **{**quiet, **LATEST})
        for control in look:
            on(control.input, self.entered, look, outputs, nothing, **{**quiet, **LATEST})

    def entered(self, space: str, low: float, request: gr.Request) -> Updates:
        """The tab is looked at, or another look is wanted."""
        tab = browser_tab(request)
        return self._show(self._pairs.begin(tab, self._desk.find(tab)), space, low)

    def opened(self, side: int) -> Any:
        """The handler of a photo dropped."""

        def perform(payload: dict[str, Any] | None, model: str, space: str, low: float, request: gr.Request) -> Updates:
            try:
                return self._show(self._pairs.open(browser_tab(request), side, uploaded(payload or {}, self._pairs.shop.files), model), space, low)
            except StegoError as error:  # the broken picture is cleared away
                say(error)
                return {self._drops[side]: None}

        return perform

    def changed(self, side: int) -> Any:
        """The handler that takes a photo away again."""

        def perform(space: str, low: float, request: gr.Request) -> Updates:
            return self._show(self._pairs.close(browser_tab(request), side), space, low)

        return perform

    def clicked(self, side: int) -> Any:
        """The handler of a click in a photo."""

        def perform(space: str, low: float, event: gr.SelectData, request: gr.Request) -> Updates:
            tab = browser_tab(request)
            pair = self._pairs.find(tab)
            photo = None if pair is None else pair.photos[side]
            if photo is None:
                raise StegoError("there is no photo here (any more): drop it once again")
            height, width = photo.picture.shape[:2]
            return self._show(self._pairs.point(tab, Point(side, (event.index[0] + 0.5) / width, (event.index[1] + 0.5) / height)), space, low)

        return perform

    def moved(self, side: int, across: float, down: float, space: str, low: float, request: gr.Request) -> Updates:
        """The point moved by its sliders; they stay as they are, since they may have been moved on."""
        shown = self._show(self._pairs.point(browser_tab(request), Point(side, across / 100, down / 100)), space, low)
        return {part: value for part, value in shown.items() if part not in (self.side, self.across, self.down)}

    def shown(self, model: str, space: str, low: float, request: gr.Request) -> Updates:
        """Two example photos."""
        photos = example_images()
        chosen = [path for path in photos if path.stem in _EXAMPLES]
        pair = None
        for side, path in enumerate(chosen if len(chosen) == 2 else photos[:2]):
            pair = self._pairs.open(browser_tab(request), side, path, model)
        return self._show(pair, space, low)

    def _show(self, pair: Pair | None, space: str, low: float) -> Updates:
        view = None if pair is None else view_pair(pair, space, low)
        pictures = (None, None) if view is None else view.pictures
        updates: Updates = {self.status: view.status if view else ""}
        for side, picture in enumerate(pictures):
            there = picture is not None
            updates[self._drops[side]] = gr.Image(value=None, visible=not there)
            updates[self._views[side]] = gr.Image(value=picture, visible=there)
            updates[self._changes[side]] = gr.Button(visible=there)
        if view is not None:
            updates |= {self.side: view.point.side, self.across: round(100 * view.point.x), self.down: round(100 * view.point.y)}
        return updates
