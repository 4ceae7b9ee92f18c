"""The components of the page and how a result fills them."""

from __future__ import annotations

from typing import Any

import ui.offline  # noqa: F401 - before Gradio
from stego_app.demo_images import example_images
from ui.contract import CatalogLike, SegmenterLike
from ui.desk import View

import gradio as gr  # isort: skip

Updates = dict[Any, Any]
"""New values or properties, by component."""


def granularity(segmenter: SegmenterLike) -> dict[str, Any]:
    """Bounds and value of the slider for ``segmenter``."""
    most = segmenter.max_classes
    # Gradio wants two ends: with one fine cluster the slider shows them but cannot be moved.
    return {"minimum": 1, "maximum": max(2, most), "value": min(segmenter.default_classes, most), "interactive": most > 1}


def fading(segmenter: SegmenterLike) -> dict[str, Any]:
    """What the slider of fading says for ``segmenter``; it cannot be moved where confidence is not known."""
    known = segmenter.has_confidence
    missing = "This model's file holds no table of agreement: train it again to see where not to trust it"
    return {"value": 0, "interactive": known, "info": "Take colour from where the segments are not to be trusted" if known else missing}


class Parts:
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
                **granularity(segmenter),
                step=1,
                label="Granularity",
                info="Into how many classes the model divides the world",
                elem_id="classes",
            )
            self.crf = gr.Checkbox(True, label="Sharpen borders", info="Follow the edges of the photo (dense CRF); slower", elem_id="crf")
            self.alpha = gr.Slider(0, 1, 0.6, step=0.05, label="Colour strength", elem_id="alpha")
            self.fade = gr.Slider(0, 1, step=0.05, label="Fade uncertain", elem_id="fade", **fading(segmenter))

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
            self.index = gr.Button("Download classes (PNG)", size="md", min_width=140, elem_id="index-file")
            self.overlay_jpeg = gr.Button("Download overlay (JPEG)", size="md", min_width=140, elem_id="overlay-file")
            self.segmenter = gr.Button("Download segmenter", size="md", min_width=140, elem_id="segmenter-file")
        self.file = gr.File(visible=False)  # holds what a button has had written, for the browser to fetch

    @property
    def all(self) -> list[Any]:
        """Every component that an event may change; a handler returns those it does."""
        result = [self.segments, self.overlay, self.status, self.work, self.chosen, self.name, self.undo]
        return [self.image, self.classes, self.fade, *result]

    def show(self, view: View, *, keep_choice: bool = False) -> Updates:
        """Updates for a new result. The controls stay as they are: a person may have moved them on since."""
        updates: Updates = {
            self.segments: gr.AnnotatedImage(value=(view.picture, view.layers.masks), color_map=view.layers.colors),
            self.overlay: view.overlay,
            self.status: view.status,
            self.work: gr.Column(visible=True),
            self.undo: gr.Button(f"Undo ({view.own_edits})" if view.own_edits else "Undo", interactive=view.own_edits > 0),
        }
        if not keep_choice:
            updates |= {self.chosen: gr.Dropdown(choices=view.choices, value=[]), self.name: ""}
        return updates

    def clear(self) -> Updates:
        """Updates for no image at all."""
        return {self.segments: None, self.overlay: None, self.status: "", self.work: gr.Column(visible=False), self.chosen: gr.Dropdown(choices=[], value=[])}
