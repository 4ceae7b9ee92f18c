"""The page: an image in, coloured segments with a legend out, with sliders and class editing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ui.actions import Actions, guarded
from ui.contract import CatalogLike
from ui.desk import Desk, Runner
from ui.offline import LocalBlocks  # before Gradio
from ui.parts import Parts, Updates

import gradio as gr  # isort: skip

TITLE = "stego – segments without labels"
_INTRO = """# Segments without labels
Drop a photo: every region gets a class that means the same in every image. No labels, no prompts; your images stay on this machine."""
_FOOT = "The same over HTTP: `POST /v1/segment` – see [/openapi.json](/openapi.json). For whole folders: `stego label`."
# A click on a download button has the file written first, so the browser is sent for it afterwards.
_FETCH = """(file) => {
    if (file) {
        const link = document.createElement("a");
        link.href = file.url;
        link.download = file.orig_name;
        link.click();
    }
    return [];
}"""
_KEEP_FILES = (600, 3600)  # seconds: how often Gradio's temporary files are looked through, and how old they may get


def build_demo(catalog: CatalogLike, *, max_pixels: int = 40_000_000, run: Runner | None = None) -> gr.Blocks:
    """The page as Gradio Blocks, to be mounted or launched.

    Args:
        catalog: the segmenters on offer.
        max_pixels: largest image taken.
        run: where segmenting happens, e.g. the service's worker; in Gradio's own threads if None.
    """
    with LocalBlocks(title=TITLE, fill_width=True, delete_cache=_KEEP_FILES) as demo:
        gr.Markdown(_INTRO, elem_id="head")
        parts = Parts(catalog)
        gr.Markdown(_FOOT, elem_id="foot")
        _wire(demo, Desk(catalog, max_pixels=max_pixels, files=demo.files, run=run), parts)
    return demo


def _wire(demo: LocalBlocks, desk: Desk, parts: Parts) -> None:
    """Connect events to the desk. A control that moves while its last value is worked on is heard once more at the end."""
    private: dict[str, Any] = {"api_visibility": "private", "show_progress_on": [parts.segments, parts.overlay], "concurrency_limit": 4}
    do = Actions(desk, parts, demo.files)

    def on(event: Callable[..., Any], action: Callable[..., Updates], inputs: list[Any], **options: Any) -> None:
        event(guarded(action, do.nothing), inputs, parts.all, **{**private, **options})

    latest: dict[str, Any] = {"trigger_mode": "always_last"}
    # The file is read by us (preprocess=False), not by the component, whose errors speak of temporary files.
    on(parts.image.change, do.opened, [parts.image, parts.model, parts.classes, parts.crf, parts.alpha, parts.fade], preprocess=False, **latest)
    on(parts.model.input, do.chosen_model, [parts.image, parts.model, parts.crf, parts.alpha, parts.fade], preprocess=False, **latest)
    on(parts.classes.input, do.again, [parts.classes, parts.crf, parts.alpha, parts.fade], **latest)
    on(parts.crf.input, do.again, [parts.classes, parts.crf, parts.alpha, parts.fade], **latest)
    for slider in (parts.alpha, parts.fade):
        on(slider.input, do.recoloured, [parts.alpha, parts.fade], **latest)
    for button, operation in ((parts.rename, "rename"), (parts.merge, "merge"), (parts.split, "split"), (parts.ignore, "ignore")):
        on(button.click, do.edited(operation), [parts.chosen, parts.name, parts.alpha, parts.fade])
    on(parts.name.submit, do.edited("rename"), [parts.chosen, parts.name, parts.alpha, parts.fade])
    on(parts.undo.click, do.undone, [parts.alpha, parts.fade])
    for picture in (parts.segments, parts.overlay):
        on(picture.select, do.picked, [parts.chosen], show_progress="hidden")
    for button, kind in ((parts.index, "index"), (parts.overlay_jpeg, "overlay"), (parts.segmenter, "segmenter")):
        written = button.click(guarded(do.wanted(kind), {parts.file: None}), [parts.alpha, parts.fade], [parts.file], **private)
        written.success(None, [parts.file], js=_FETCH, api_visibility="private")
    parts.examples.click(lambda sample: sample[0], [parts.examples], [parts.image], api_visibility="private", show_progress="hidden")
    demo.unload(do.left)
