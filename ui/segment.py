"""The tab "Segment": a photo in, coloured segments with a legend out, with sliders and class editing."""

from __future__ import annotations

from typing import Any

from ui.actions import Actions
from ui.desk import Desk
from ui.parts import OVERLAY, SEGMENTS, WIPE, Parts
from ui.wiring import LATEST, on, on_download

import gradio as gr  # isort: skip


def wire_segment(desk: Desk, parts: Parts, model: gr.Dropdown) -> Actions:
    """Connect the tab's events to the desk."""
    do = Actions(desk, parts, model)
    look = [parts.alpha, parts.fade]
    busy: dict[str, Any] = {"show_progress_on": [parts.segments, parts.overlay]}

    def drawing(event: Any, action: Any, inputs: list[Any], **options: Any) -> None:
        """After each result, before and after are drawn again, if that is what is looked at."""
        done = on(event, action, inputs, parts.all, do.nothing, **{**busy, **options})
        on(done.success, do.wiped, [parts.shown, parts.wipe_kind, *look], [parts.wipe, parts.status], do.nothing, show_progress_on=[parts.wipe])

    # The file is read by us (preprocess=False), not by the component, whose errors speak of temporary files.
    drawing(parts.image.change, do.opened, [parts.image, model, parts.classes, parts.crf, *look], preprocess=False, **LATEST)
    drawing(model.input, do.chosen_model, [parts.image, model, parts.crf, *look], preprocess=False, **LATEST)
    for slider in (parts.classes, parts.crf):
        drawing(slider.input, do.again, [parts.classes, parts.crf, *look], **LATEST)
    for slider in (parts.alpha, parts.fade):
        drawing(slider.input, do.recoloured, look, **LATEST)
    for button, operation in ((parts.rename, "rename"), (parts.merge, "merge"), (parts.split, "split"), (parts.ignore, "ignore")):
        drawing(button.click, do.edited(operation), [parts.chosen, parts.name, *look])
    drawing(parts.name.submit, do.edited("rename"), [parts.chosen, parts.name, *look])
    drawing(parts.recolour.click, do.edited("recolour"), [parts.chosen, parts.color, *look])
    drawing(parts.name_them.click, do.named, [parts.chosen, parts.words, *look])
    drawing(parts.undo.click, do.undone, look)
    for picture in (parts.segments, parts.overlay):
        on(picture.select, do.picked, [parts.chosen], [parts.chosen, parts.status], do.nothing, show_progress="hidden")
    for tab, shown in ((parts.segments_tab, SEGMENTS), (parts.overlay_tab, OVERLAY), (parts.wipe_tab, WIPE)):
        seen = tab.select(lambda shown=shown: shown, None, [parts.shown], api_visibility="private", show_progress="hidden")
        if shown == WIPE:
            on(seen.success, do.wiped, [parts.shown, parts.wipe_kind, *look], [parts.wipe, parts.status], do.nothing, show_progress_on=[parts.wipe])
    on(parts.wipe_kind.input, do.wiped, [parts.shown, parts.wipe_kind, *look], [parts.wipe, parts.status], do.nothing, show_progress_on=[parts.wipe])
    on_download(parts.download, do.wanted, [parts.format, *look], parts.file)
    on_download(parts.segmenter, do.wanted_segmenter, [], parts.file)
    for event in (parts.save.click, parts.save_name.submit):
        on(event, do.saved, [parts.save_name], [parts.saved, model], {parts.saved: ""})
    parts.examples.click(lambda sample: sample[0], [parts.examples], [parts.image], api_visibility="private", show_progress="hidden")
    return do
