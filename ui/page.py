"""The page: an image in, coloured segments with a legend out, with sliders and class editing."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ui.offline  # before Gradio
from models.errors import StegoError
from stego_app.demo_images import example_images
from ui.contract import CatalogLike
from ui.desk import Desk, Runner
from ui.sitting import Sitting

import gradio as gr  # isort: skip

log = logging.getLogger("stego.page")

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
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=_KEEP_FILES) as demo:
        gr.Markdown(_INTRO, elem_id="head")
        parts = _Parts(catalog)
        gr.Markdown(_FOOT, elem_id="foot")
        _wire(demo, desk, parts)
    ui.offline.forbid_fetching(demo)
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
            self.alpha = gr.Slider(0, 1, 0.55, step=0.05, label="Colour strength", elem_id="alpha")

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
    def shown(self) -> list[Any]:
        """The components that a new result changes, in the order of `_updates`."""
        return [self.segments, self.overlay, self.status, self.classes, self.chosen, self.undo, self.work, self.index_file, self.overlay_file]


def _updates(desk: Desk, sitting: Sitting, alpha: float) -> list[Any]:
    view = desk.view(sitting, alpha)
    return [
        gr.AnnotatedImage(value=(view.picture, view.layers.masks), color_map=view.layers.colors),
        view.overlay,
        view.status,
        gr.Slider(maximum=view.max_classes, value=view.classes),
        gr.Dropdown(choices=view.choices, value=[]),
        gr.Button("Undo" if not view.own_edits else f"Undo ({view.own_edits})", interactive=view.own_edits > 0),
        gr.Column(visible=True),
        view.index_file,
        view.overlay_file,
    ]


def _cleared() -> list[Any]:
    return [None, None, "", gr.skip(), gr.Dropdown(choices=[], value=[]), gr.skip(), gr.Column(visible=False), None, None]


def _wire(demo: gr.Blocks, desk: Desk, parts: _Parts) -> None:
    """Connect events to the desk. Everything slow runs one at a time per kind, and the latest wish wins."""
    shown = parts.shown
    settings = [parts.model, parts.classes, parts.crf, parts.alpha]
    private: dict[str, Any] = {"api_visibility": "private", "show_progress_on": [parts.segments, parts.overlay], "concurrency_limit": 4}

    @_spoken(len(shown))
    def opened(payload: dict[str, Any] | None, model: str, classes: float, crf: bool, alpha: float, request: gr.Request) -> list[Any]:
        if payload is None:
            desk.drop(_tab(request))
            return _cleared()
        return _updates(desk, desk.open(_tab(request), Path(payload["path"]), model, classes=int(classes), crf=crf), alpha)

    @_spoken(len(shown))
    def again(classes: float, crf: bool, alpha: float, request: gr.Request) -> list[Any]:
        sitting = desk.again(_tab(request), classes=int(classes), crf=crf)
        return [gr.skip()] * len(shown) if sitting is None else _updates(desk, sitting, alpha)

    @_spoken(len(shown))
    def recoloured(alpha: float, request: gr.Request) -> list[Any]:
        return _updates(desk, desk.need(_tab(request)), alpha)

    @_spoken(len(shown))
    def undone(alpha: float, request: gr.Request) -> list[Any]:
        return _updates(desk, desk.undo(_tab(request)), alpha)

    def edited(operation: str) -> Callable[..., list[Any]]:
        @_spoken(len(shown))
        def perform(labels: list[int], name: str, alpha: float, request: gr.Request) -> list[Any]:
            return _updates(desk, desk.edit(_tab(request), operation, labels, name), alpha)

        return perform

    @_spoken(1)
    def picked(labels: list[int], event: gr.SelectData, request: gr.Request) -> list[Any]:
        sitting = desk.need(_tab(request))
        label = sitting.label_at(*event.index) if isinstance(event.index, (list, tuple)) else sitting.label_in_legend(event.index)
        if label is None:
            return [gr.skip()]
        return [[kept for kept in labels if kept != label] if label in labels else [*labels, label]]

    def left(request: gr.Request) -> None:
        desk.drop(_tab(request))

    # The file is read by us, not by the component, whose errors speak of temporary files.
    parts.image.change(opened, [parts.image, *settings], shown, preprocess=False, trigger_mode="always_last", **private)
    parts.model.input(opened, [parts.image, *settings], shown, preprocess=False, trigger_mode="always_last", **private)
    for control in (parts.classes, parts.crf):
        control.input(again, [parts.classes, parts.crf, parts.alpha], shown, trigger_mode="always_last", **private)
    parts.alpha.release(recoloured, [parts.alpha], shown, trigger_mode="always_last", **private)
    for button, operation in ((parts.rename, "rename"), (parts.merge, "merge"), (parts.split, "split"), (parts.ignore, "ignore")):
        button.click(edited(operation), [parts.chosen, parts.name, parts.alpha], shown, **private)
    parts.name.submit(edited("rename"), [parts.chosen, parts.name, parts.alpha], shown, **private)
    parts.undo.click(undone, [parts.alpha], shown, **private)
    for picture in (parts.segments, parts.overlay):
        picture.select(picked, [parts.chosen], [parts.chosen], api_visibility="private", show_progress="hidden")
    parts.examples.click(lambda sample: sample[0], [parts.examples], [parts.image], api_visibility="private", show_progress="hidden")
    demo.unload(left)


def _tab(request: gr.Request) -> str:
    return str(request.session_hash)


def _spoken(outputs: int) -> Callable[[Callable[..., list[Any]]], Callable[..., list[Any]]]:
    """Turn problems into a notice on the page: a user's own in plain words, others as one that the log explains."""

    def decorate(action: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        from functools import wraps

        @wraps(action)
        def guarded(*arguments: Any, **named: Any) -> Any:
            try:
                result = action(*arguments, **named)
            except StegoError as error:
                gr.Warning(html.escape(str(error)), title="That did not work")
                result = [gr.skip()] * outputs
            except Exception as error:
                log.exception("the page failed")
                raise gr.Error("Something went wrong on our side; the server's log has the reason.", title="Sorry", print_exception=False) from error
            return result[0] if outputs == 1 else result

        return guarded

    return decorate
