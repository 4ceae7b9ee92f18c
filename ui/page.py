"""The page: an image in, coloured segments with a legend out, with sliders and class editing."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from models.errors import StegoError
from stego_app.demo_images import example_images
from ui.contract import CatalogLike
from ui.desk import Desk, Runner, View
from ui.offline import LocalBlocks, uploaded  # before Gradio

import gradio as gr  # isort: skip

log = logging.getLogger("stego.page")

Updates = dict[Any, Any]
"""New values or properties, by component."""

TITLE = "stego – segments without labels"
_INTRO = """# Segments without labels
Drop a photo: every region gets a class that means the same in every image. No labels, no prompts; your images stay on this machine."""
_FOOT = "The same over HTTP: `POST /v1/segment` – see [/openapi.json](/openapi.json). For whole folders: `stego label`."
_KEEP_FILES = (600, 3600)  # seconds: how often Gradio's temporary files are looked through, and how old they may get


def build_demo(catalog: CatalogLike, *, max_pixels: int = 40_000_000, run: Runner | None = None) -> gr.Blocks:
    """The page as Gradio Blocks, to be mounted or launched.

    Args:
        catalog: the segmenters on offer.
        max_pixels: largest image taken.
        run: where segmenting happens, e.g. the service's worker; in Gradio's own threads if None.
    """
    desk = Desk(catalog, max_pixels=max_pixels, run=run)
    with LocalBlocks(title=TITLE, fill_width=True, delete_cache=_KEEP_FILES) as demo:
        gr.Markdown(_INTRO, elem_id="head")
        parts = _Parts(catalog)
        gr.Markdown(_FOOT, elem_id="foot")
        _wire(demo, desk, parts)
    return demo


class _Parts:
    """The components of the page, laid out as they are made; on a phone, styles put the segments before the settings."""

    def __init__(self, catalog: CatalogLike) -> None:
        with gr.Row(elem_id="board"):
            with gr.Column(scale=2, min_width=300, elem_id="left"):
                with gr.Column(elem_id="photo-part"):
                    self._photo()
                with gr.Column(elem_id="settings-part"):
                    self._settings(catalog)
            with gr.Column(scale=3, min_width=320, elem_id="right"):
                with gr.Column(elem_id="result-part"):
                    self._result()
                with gr.Column(visible=False, elem_id="editing-part") as self.work:
                    self._editing()
                    self._downloads()

    def _photo(self) -> None:
        self.image = gr.Image(
            label="Photo",
            type="filepath",
            sources=["upload", "clipboard"],
            height=320,
            buttons=["fullscreen"],
            placeholder="Drop a photo here\nor click to choose one",
            alt_text="The photo",
            elem_id="photo",
        )
        photos = [[str(path)] for path in example_images()]
        self.examples = gr.Dataset(components=[self.image], samples=photos, label="Or try one of these", visible=bool(photos), elem_id="examples")

    def _result(self) -> None:
        with gr.Tabs():
            with gr.Tab("Segments"):
                self.segments = gr.AnnotatedImage(show_label=False, format="jpeg", elem_id="segments")
            with gr.Tab("Overlay"):
                self.overlay = gr.Image(
                    show_label=False, interactive=False, format="jpeg", buttons=["fullscreen"], alt_text="The photo, tinted by class", elem_id="overlay"
                )
        self.status = gr.Markdown("", elem_id="status")

    def _settings(self, catalog: CatalogLike) -> None:
        segmenter = catalog.get()
        names = catalog.names()
        with gr.Group():
            self.model = gr.Dropdown(names, value=catalog.default, label="Model", visible=len(names) > 1, elem_id="model")
            self.classes = gr.Slider(
                2,
                segmenter.max_classes,
                segmenter.default_classes,
                step=1,
                label="Granularity",
                info="Into how many classes the model divides the world",
                elem_id="classes",
            )
            self.crf = gr.Checkbox(True, label="Sharpen borders", info="Follow the edges of the photo (dense CRF); slower", elem_id="crf")
            self.alpha = gr.Slider(0, 1, 0.6, step=0.05, label="Colour strength", elem_id="alpha")

    def _editing(self) -> None:
        self.chosen = gr.Dropdown([], multiselect=True, label="Edit classes", info="Click the legend, or the picture under Overlay", elem_id="chosen")
        with gr.Row(elem_classes="tight"):
            self.name = gr.Textbox(placeholder="New name", show_label=False, container=False, max_length=80, scale=3, min_width=140, elem_id="name")
            self.rename = gr.Button("Rename", variant="primary", size="md", scale=1, min_width=90, elem_id="rename")
        with gr.Row(elem_classes="tight"):
            self.merge = gr.Button("Merge", size="md", min_width=70, elem_id="merge")
            self.split = gr.Button("Split", size="md", min_width=70, elem_id="split")
            self.ignore = gr.Button("Ignore", size="md", min_width=70, elem_id="ignore")
            self.undo = gr.Button("Undo", size="md", min_width=70, interactive=False, elem_id="undo")

    def _downloads(self) -> None:
        with gr.Row(elem_classes="tight"):
            self.index_file = gr.DownloadButton("Download classes (PNG)", size="md", min_width=140, elem_id="index-file")
            self.overlay_file = gr.DownloadButton("Download overlay (JPEG)", size="md", min_width=140, elem_id="overlay-file")

    @property
    def all(self) -> list[Any]:
        """Every component that an event may change; a handler returns those it does."""
        result = [self.segments, self.overlay, self.status, self.work, self.chosen, self.name, self.undo, self.index_file, self.overlay_file]
        return [self.image, self.classes, *result]

    def show(self, view: View, *, keep_choice: bool = False) -> Updates:
        """Updates for a new result. The controls stay as they are: a person may have moved them on since."""
        updates: Updates = {
            self.segments: gr.AnnotatedImage(value=(view.picture, view.layers.masks), color_map=view.layers.colors),
            self.overlay: view.overlay,
            self.status: view.status,
            self.work: gr.Column(visible=True),
            self.undo: gr.Button(f"Undo ({view.own_edits})" if view.own_edits else "Undo", interactive=view.own_edits > 0),
            self.index_file: view.index_file,
            self.overlay_file: view.overlay_file,
        }
        if not keep_choice:
            updates |= {self.chosen: gr.Dropdown(choices=view.choices, value=[]), self.name: ""}
        return updates

    def clear(self) -> Updates:
        """Updates for no image at all."""
        return {self.segments: None, self.overlay: None, self.status: "", self.work: gr.Column(visible=False), self.chosen: gr.Dropdown(choices=[], value=[])}


def _wire(demo: LocalBlocks, desk: Desk, parts: _Parts) -> None:
    """Connect events to the desk. A control that moves while its last value is worked on is heard once more at the end."""
    private: dict[str, Any] = {"api_visibility": "private", "show_progress_on": [parts.segments, parts.overlay], "concurrency_limit": 4}
    nothing: Updates = {parts.status: gr.skip()}

    def opened(payload: dict[str, Any] | None, model: str, classes: float, crf: bool, alpha: float, request: gr.Request) -> Updates:
        if payload is None:
            desk.drop(_tab(request))
            return parts.clear()
        try:
            sitting = desk.open(_tab(request), uploaded(payload, demo.files), model, classes=int(classes), crf=crf)
        except StegoError as error:  # a photo that cannot be shown must not stay beside the segments of another
            desk.drop(_tab(request))
            _say(error)
            return {parts.image: None, **parts.clear()}
        return parts.show(desk.view(sitting, alpha))

    def chosen_model(payload: dict[str, Any] | None, model: str, crf: bool, alpha: float, request: gr.Request) -> Updates:
        segmenter = desk.catalog.get(model)
        updates = nothing if payload is None else opened(payload, model, segmenter.default_classes, crf, alpha, request)
        return {**updates, parts.classes: gr.Slider(maximum=segmenter.max_classes, value=segmenter.default_classes)}

    def again(classes: float, crf: bool, alpha: float, request: gr.Request) -> Updates:
        sitting = desk.again(_tab(request), classes=int(classes), crf=crf)
        return nothing if sitting is None else parts.show(desk.view(sitting, alpha))

    def recoloured(alpha: float, request: gr.Request) -> Updates:
        sitting = desk.find(_tab(request))
        return nothing if sitting is None else parts.show(desk.view(sitting, alpha), keep_choice=True)

    def undone(alpha: float, request: gr.Request) -> Updates:
        return parts.show(desk.view(desk.undo(_tab(request)), alpha))

    def edited(operation: str) -> Callable[..., Updates]:
        def perform(labels: list[int], name: str, alpha: float, request: gr.Request) -> Updates:
            return parts.show(desk.view(desk.edit(_tab(request), operation, labels, name), alpha))

        return perform

    def picked(labels: list[int], event: gr.SelectData, request: gr.Request) -> Updates:
        sitting = desk.need(_tab(request))
        label = sitting.label_at(*event.index) if isinstance(event.index, (list, tuple)) else sitting.label_in_legend(event.index)
        if label is None:
            return nothing
        return {parts.chosen: [kept for kept in labels if kept != label] if label in labels else [*labels, label]}

    def left(request: gr.Request) -> None:
        desk.drop(_tab(request))

    def on(event: Callable[..., Any], action: Callable[..., Updates], inputs: list[Any], **options: Any) -> None:
        event(_guarded(action, nothing), inputs, parts.all, **{**private, **options})

    latest: dict[str, Any] = {"trigger_mode": "always_last"}
    # The file is read by us (preprocess=False), not by the component, whose errors speak of temporary files.
    on(parts.image.change, opened, [parts.image, parts.model, parts.classes, parts.crf, parts.alpha], preprocess=False, **latest)
    on(parts.model.input, chosen_model, [parts.image, parts.model, parts.crf, parts.alpha], preprocess=False, **latest)
    on(parts.classes.input, again, [parts.classes, parts.crf, parts.alpha], **latest)
    on(parts.crf.input, again, [parts.classes, parts.crf, parts.alpha], **latest)
    on(parts.alpha.input, recoloured, [parts.alpha], **latest)
    for button, operation in ((parts.rename, "rename"), (parts.merge, "merge"), (parts.split, "split"), (parts.ignore, "ignore")):
        on(button.click, edited(operation), [parts.chosen, parts.name, parts.alpha])
    on(parts.name.submit, edited("rename"), [parts.chosen, parts.name, parts.alpha])
    on(parts.undo.click, undone, [parts.alpha])
    for picture in (parts.segments, parts.overlay):
        on(picture.select, picked, [parts.chosen], show_progress="hidden")
    parts.examples.click(lambda sample: sample[0], [parts.examples], [parts.image], api_visibility="private", show_progress="hidden")
    demo.unload(left)


def _tab(request: gr.Request) -> str:
    return str(request.session_hash)


def _say(error: StegoError) -> None:
    """Show the one line of a user's own problem; notices are HTML, names of files and classes are not."""
    gr.Warning(html.escape(str(error)))


def _guarded(action: Callable[..., Updates], nothing: Updates) -> Callable[..., Updates]:
    """``action`` with problems turned into a notice: a user's own in plain words, others as one that the log explains."""

    @wraps(action)
    def guarded(*arguments: Any, **named: Any) -> Updates:
        try:
            return action(*arguments, **named)
        except StegoError as error:
            _say(error)
            return nothing
        except Exception as error:
            log.exception("the page failed")
            raise gr.Error("Something went wrong on the server; its log has the reason.", print_exception=False) from error

    return guarded
