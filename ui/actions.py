"""What each event of the tab "Segment" does: the desk's work, and what it changes on the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.errors import StegoError
from ui.desk import Desk
from ui.offline import uploaded  # before Gradio
from ui.parts import WIPE, Parts, fading, granularity
from ui.pictures import Look
from ui.wiring import Updates, browser_tab, say

import gradio as gr  # isort: skip


class Actions:
    """Handlers of events, one for each kind.

    Args:
        desk: does the work.
        parts: the tab's components.
        model: the choice of a segmenter, above all tabs.
    """

    def __init__(self, desk: Desk, parts: Parts, model: gr.Dropdown) -> None:
        self._desk = desk
        self._parts = parts
        self._model = model
        self.nothing: Updates = {parts.status: gr.skip()}

    def opened(self, payload: dict[str, Any] | None, model: str, classes: float, crf: float, alpha: float, fade: float, request: gr.Request) -> Updates:
        """A photo has come, or gone."""
        desk, parts = self._desk, self._parts
        if payload is None:
            desk.drop(browser_tab(request))
            return parts.clear()
        try:
            sitting = desk.open(browser_tab(request), uploaded(payload, desk.shop.files), model, classes=int(classes), crf=crf)
        except StegoError as error:  # a photo that cannot be shown must not stay beside the segments of another
            desk.drop(browser_tab(request))
            say(error)
            return {parts.image: None, **parts.clear()}
        return parts.show(desk.view(sitting, Look(alpha, fade)))

    def chosen_model(self, payload: dict[str, Any] | None, model: str, crf: float, alpha: float, fade: float, request: gr.Request) -> Updates:
        """Another model: the sliders get its bounds."""
        segmenter = self._desk.shop.catalog.get(model)
        updates = self.nothing if payload is None else self.opened(payload, model, segmenter.default_classes, crf, alpha, fade, request)
        return {**updates, self._parts.classes: gr.Slider(**granularity(segmenter)), self._parts.fade: gr.Slider(**fading(segmenter))}

    def again(self, classes: float, crf: float, alpha: float, fade: float, request: gr.Request) -> Updates:
        """Another granularity, or another strength of the CRF."""
        sitting = self._desk.again(browser_tab(request), classes=int(classes), crf=crf)
        return self.nothing if sitting is None else self._parts.show(self._desk.view(sitting, Look(alpha, fade)))

    def recoloured(self, alpha: float, fade: float, request: gr.Request) -> Updates:
        """Another strength of colours, or of fading."""
        sitting = self._desk.find(browser_tab(request))
        return self.nothing if sitting is None else self._parts.show(self._desk.view(sitting, Look(alpha, fade)), keep_choice=True)

    def wiped(self, shown: str, kind: str, alpha: float, fade: float, request: gr.Request) -> Updates:
        """Before and after, if that is what is looked at."""
        wipe = self._desk.wipe(browser_tab(request), kind, Look(alpha, fade)) if shown == WIPE else None
        return self.nothing if wipe is None else {self._parts.wipe: wipe}

    def undone(self, alpha: float, fade: float, request: gr.Request) -> Updates:
        """The latest edit taken back."""
        return self._parts.show(self._desk.view(self._desk.undo(browser_tab(request)), Look(alpha, fade)))

    def edited(self, operation: str) -> Callable[..., Updates]:
        """The handler for one kind of edit."""

        def perform(labels: list[int], value: str, alpha: float, fade: float, request: gr.Request) -> Updates:
            return self._parts.show(self._desk.view(self._desk.edit(browser_tab(request), operation, labels, value), Look(alpha, fade)))

        return perform

    def named(self, labels: list[int], words: str, alpha: float, fade: float, request: gr.Request) -> Updates:
        """Names from words, for the chosen classes or for all."""
        sitting, told = self._desk.name(browser_tab(request), labels, words)
        return {**self._parts.show(self._desk.view(sitting, Look(alpha, fade))), self._parts.named: told}

    def picked(self, labels: list[int], event: gr.SelectData, request: gr.Request) -> Updates:
        """A class clicked in the legend or in the picture: chosen, or no longer."""
        sitting = self._desk.need(browser_tab(request))
        label = sitting.label_at(*event.index) if isinstance(event.index, (list, tuple)) else sitting.label_in_legend(event.index)
        if label is None:
            return self.nothing
        return {self._parts.chosen: [kept for kept in labels if kept != label] if label in labels else [*labels, label]}

    def wanted(self, kind: str, alpha: float, fade: float, request: gr.Request) -> Updates:
        """A download in the chosen format."""
        return {self._parts.file: str(self._desk.download(browser_tab(request), kind, Look(alpha, fade)))}

    def wanted_segmenter(self, request: gr.Request) -> Updates:
        """The segmenter with this person's edits."""
        return {self._parts.file: str(self._desk.download(browser_tab(request), "segmenter", Look(0)))}

    def saved(self, name: str, request: gr.Request) -> Updates:
        """The segmenter kept on the server; the choice of models grows by it."""
        told = self._desk.save(browser_tab(request), name)
        return {self._parts.saved: told, self._model: gr.Dropdown(choices=self._desk.shop.catalog.names(), visible=True)}

    def left(self, request: gr.Request) -> None:
        """The browser's tab was closed."""
        self._desk.drop(browser_tab(request))
