"""The components of the tab "Segment" and how a result fills them."""

from __future__ import annotations

from typing import Any

import ui.offline  # noqa: F401 - before Gradio
from stego_app.demo_images import example_images
from ui.contract import SegmenterLike
from ui.desk import View
from ui.exports import PNG, choices
from ui.wiring import Updates
from ui.workshop import Workshop

import gradio as gr  # isort: skip

SEGMENTS, OVERLAY, WIPE = "segments", "overlay", "wipe"


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


def sharpening(**options: Any) -> gr.Slider:
    """The slider of the CRF's strength."""
    return gr.Slider(0, 2, 1, step=0.25, label="Sharpen borders", **options)


class Parts:
    """The components, laid out as they are made; on a phone, styles put the segments before the settings."""

    def __init__(self, shop: Workshop) -> None:
        with gr.Row(elem_classes="board"):
            with gr.Column(scale=2, min_width=300, elem_classes="left"):
                with gr.Column(elem_id="photo-part"):
                    self._photo()
                with gr.Column(elem_id="settings-part"):
                    self._settings(shop.catalog.get())
            with gr.Column(scale=3, min_width=320, elem_classes="right"):
                with gr.Column(elem_id="result-part"):
                    self._result()
                with gr.Column(visible=False, elem_id="editing-part") as self.work:
                    self._editing()
                    self._downloads(can_save=shop.save is not None)

    def _photo(self) -> None:
        self.image = gr.Image(
            label="Photo",
            type="filepath",
            sources=["upload", "clipboard"],
            height=300,
            buttons=["fullscreen"],
            placeholder="Drop a photo here\nor click to choose one",
            alt_text="The photo",
            elem_id="photo",
        )
        photos = [[str(path)] for path in example_images()]
        self.examples = gr.Dataset(components=[self.image], samples=photos, label="Or try one of these", visible=bool(photos), elem_id="examples")

    def _result(self) -> None:
        with gr.Tabs():
            with gr.Tab("Segments") as self.segments_tab:
                self.segments = gr.AnnotatedImage(show_label=False, format="jpeg", elem_id="segments")
            with gr.Tab("Overlay") as self.overlay_tab:
                self.overlay = gr.Image(
                    show_label=False, interactive=False, format="jpeg", buttons=["fullscreen"], alt_text="The photo, tinted by class", elem_id="overlay"
                )
            with gr.Tab("Before / after") as self.wipe_tab:
                self.wipe = gr.ImageSlider(show_label=False, interactive=False, format="jpeg", buttons=["fullscreen"], max_height=660, elem_id="wipe")
                self.wipe_kind = gr.Radio(
                    [("Photo | segments", "photo"), ("Rough | sharpened borders", "borders")],
                    value="photo",
                    show_label=False,
                    container=False,
                    elem_id="wipe-kind",
                )
        self.shown = gr.State(SEGMENTS)  # which of the three: the last is drawn only while it is looked at
        self.status = gr.Markdown("", elem_id="status", elem_classes="status")

    def _settings(self, segmenter: SegmenterLike) -> None:
        with gr.Group():
            self.classes = gr.Slider(
                **granularity(segmenter),
                step=1,
                label="Granularity",
                info="Into how many classes the model divides the world",
                elem_id="classes",
            )
            self.crf = sharpening(info="How closely to follow the edges of the photo (dense CRF); 0 leaves the patches as they are", elem_id="crf")
            self.alpha = gr.Slider(0, 1, 0.6, step=0.05, label="Colour strength", elem_id="alpha")
            self.fade = gr.Slider(0, 1, step=0.05, label="Fade uncertain", elem_id="fade", **fading(segmenter))

    def _editing(self) -> None:
        self.chosen = gr.Dropdown([], multiselect=True, label="Edit classes", info="Click a segment in the picture, or its name below it", elem_id="chosen")
        with gr.Row(elem_classes="tight"):
            self.name = gr.Textbox(
                placeholder="New name", label="New name", show_label=False, container=False, max_length=80, scale=3, min_width=140, elem_id="name"
            )
            self.rename = gr.Button("Rename", variant="primary", size="md", scale=1, min_width=90, elem_id="rename")
        with gr.Row(elem_classes="tight"):
            self.merge = gr.Button("Merge", size="md", min_width=70, elem_id="merge")
            self.split = gr.Button("Split", size="md", min_width=70, elem_id="split")
            self.ignore = gr.Button("Ignore", size="md", min_width=70, elem_id="ignore")
            self.color = gr.ColorPicker("#1f9d8f", label="Colour", show_label=False, container=False, scale=0, min_width=44, elem_id="color")
            self.recolour = gr.Button("Recolour", size="md", min_width=90, elem_id="recolour")
            self.undo = gr.Button("Undo", size="md", min_width=70, interactive=False, elem_id="undo")
        with gr.Accordion("Name classes from words", open=False, elem_id="naming"):
            self.words = gr.Textbox(
                placeholder="dog, cat, grass, sky, building\nroad: street, asphalt",
                label="Words to choose from",
                info="Each class, or each one chosen above, gets the word that fits it best, or none; things are found more surely than sky, road or wall",
                lines=2,
                max_lines=8,
                max_length=4000,
                elem_id="words",
            )
            self.name_them = gr.Button("Name from words", size="md", elem_id="name-from-words")
            self.named = gr.Markdown("", elem_id="named", elem_classes="status")

    def _downloads(self, *, can_save: bool) -> None:
        with gr.Column(elem_id="take-away"):
            with gr.Row(elem_classes="tight low"):
                self.format = gr.Dropdown(choices(), value=PNG, label="Take the segments away as", scale=3, min_width=250, elem_id="format")
                self.download = gr.Button("Download", size="md", scale=1, min_width=110, elem_id="download")
            with gr.Row(elem_classes="tight low"):
                self.save_name = gr.Textbox(
                    placeholder="my-classes", label="Keep the edited classes as", max_length=64, scale=3, min_width=200, visible=can_save, elem_id="save-name"
                )
                self.save = gr.Button("Save on this server", size="md", scale=1, min_width=150, visible=can_save, elem_id="save")
                self.segmenter = gr.Button("Download segmenter", size="md", scale=1, min_width=150, elem_id="segmenter-file")
            self.saved = gr.Markdown("", elem_id="saved", elem_classes="status")
        self.file = gr.File(visible=False)  # holds what a button has had written, for the browser to fetch

    @property
    def all(self) -> list[Any]:
        """Every component that an event may change; a handler returns those it does."""
        result = [self.segments, self.overlay, self.wipe, self.status, self.work, self.chosen, self.name, self.undo, self.named, self.saved]
        return [self.image, self.classes, self.fade, *result]

    def show(self, view: View, *, keep_choice: bool = False) -> Updates:
        """Updates for a new result. The controls stay as they are: a person may have moved them on since."""
        updates: Updates = {
            self.segments: gr.AnnotatedImage(value=(view.picture, view.layers.masks), color_map=view.layers.colors),
            self.overlay: view.overlay,
            self.status: view.status,
            self.work: gr.Column(visible=True),
            self.undo: gr.Button(f"Undo ({view.changes})" if view.changes else "Undo", interactive=view.changes > 0),
        }
        if not keep_choice:
            updates |= {self.chosen: gr.Dropdown(choices=view.choices, value=[]), self.name: "", self.named: "", self.saved: ""}
        return updates

    def clear(self) -> Updates:
        """Updates for no image at all."""
        nothing = dict.fromkeys((self.segments, self.overlay, self.wipe))
        return {**nothing, self.status: "", self.work: gr.Column(visible=False), self.chosen: gr.Dropdown(choices=[], value=[])}
