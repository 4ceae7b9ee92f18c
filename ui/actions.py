"""What each event of the page does: the desk's work, and what it changes on the page."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from models.errors import StegoError
from ui.desk import Desk
from ui.offline import uploaded  # before Gradio
from ui.parts import Parts, Updates, fading, granularity
from ui.pictures import Look

import gradio as gr  # isort: skip

log = logging.getLogger("stego.page")


class Actions:
    """Handlers of events, one for each kind.

    Args:
        desk: does the work.
        parts: the page.
        files: the folder of uploads.
    """

    def __init__(self, desk: Desk, parts: Parts, files: Path) -> None:
        self._desk = desk
        self._parts = parts
        self._files = files
        self.nothing: Updates = {parts.status: gr.skip()}

    def opened(self, payload: dict[str, Any] | None, model: str, classes: float, crf: bool, alpha: float, fade: float, request: gr.Request) -> Updates:
        """A photo has come, or gone."""
        desk, parts = self._desk, self._parts
        if payload is None:
            desk.drop(_tab(request))
            return parts.clear()
        try:
            sitting = desk.open(_tab(request), uploaded(payload, self._files), model, classes=int(classes), crf=crf)
        except StegoError as error:  # a photo that cannot be shown must not stay beside the segments of another
            desk.drop(_tab(request))
            _say(error)
            return {parts.image: None, **parts.clear()}
        return parts.show(desk.view(sitting, Look(alpha, fade)))

    def chosen_model(self, payload: dict[str, Any] | None, model: str, crf: bool, alpha: float, fade: float, request: gr.Request) -> Updates:
        """Another model: the sliders get its bounds."""
        segmenter = self._desk.catalog.get(model)
        updates = self.nothing if payload is None else self.opened(payload, model, segmenter.default_classes, crf, alpha, fade, request)
        return {**updates, self._parts.classes: gr.Slider(**granularity(segmenter)), self._parts.fade: gr.Slider(**fading(segmenter))}

    def again(self, classes: float, crf: bool, alpha: float, fade: float, request: gr.Request) -> Updates:
        """Another granularity, or the CRF switched."""
        sitting = self._desk.again(_tab(request), classes=int(classes), crf=crf)
        return self.nothing if sitting is None else self._parts.show(self._desk.view(sitting, Look(alpha, fade)))

    def recoloured(self, alpha: float, fade: float, request: gr.Request) -> Updates:
        """Another strength of colours, or of fading."""
        sitting = self._desk.find(_tab(request))
        return self.nothing if sitting is None else self._parts.show(self._desk.view(sitting, Look(alpha, fade)), keep_choice=True)

    def undone(self, alpha: float, fade: float, request: gr.Request) -> Updates:
        """The latest edit taken back."""
        return self._parts.show(self._desk.view(self._desk.undo(_tab(request)), Look(alpha, fade)))

    def edited(self, operation: str) -> Callable[..., Updates]:
        """The handler for one kind of edit."""

        def perform(labels: list[int], name: str, alpha: float, fade: float, request: gr.Request) -> Updates:
            return self._parts.show(self._desk.view(self._desk.edit(_tab(request), operation, labels, name), Look(alpha, fade)))

        return perform

    def picked(self, labels: list[int], event: gr.SelectData, request: gr.Request) -> Updates:
        """A class clicked in the legend or in the picture: chosen, or no longer."""
        sitting = self._desk.need(_tab(request))
        label = sitting.label_at(*event.index) if isinstance(event.index, (list, tuple)) else sitting.label_in_legend(event.index)
        if label is None:
            return self.nothing
        return {self._parts.chosen: [kept for kept in labels if kept != label] if label in labels else [*labels, label]}

    def wanted(self, kind: str) -> Callable[..., Updates]:
        """The handler that writes one kind of download."""

        def perform(alpha: float, fade: float, request: gr.Request) -> Updates:
            return {self._parts.file: str(self._desk.download(_tab(request), kind, Look(alpha, fade)))}

        return perform

    def left(self, request: gr.Request) -> None:
        """The tab was closed."""
        self._desk.drop(_tab(request))


def _tab(request: gr.Request) -> str:
    return str(request.session_hash)


def _say(error: StegoError) -> None:
    """Show the one line of a user's own problem; notices are HTML, names of files and classes are not."""
    gr.Warning(html.escape(str(error)))


def guarded(action: Callable[..., Updates], nothing: Updates) -> Callable[..., Updates]:
    """``action`` with problems turned into a notice: a user's own in plain words, others as one that the log explains."""

    @wraps(action)
    def perform(*arguments: Any, **named: Any) -> Updates:
        try:
            return action(*arguments, **named)
        except StegoError as error:
            _say(error)
            return nothing
        except Exception as error:
            log.exception("the page failed")
            raise gr.Error("Something went wrong on the server; its log has the reason.", print_exception=False) from error

    return perform
