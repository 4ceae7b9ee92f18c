"""The page: five tabs around the segmenters on offer."""

from __future__ import annotations

from pathlib import Path

from ui.compare import CompareDesk, CompareTab
from ui.contract import CatalogLike
from ui.correspondences import CorrespondenceTab
from ui.desk import Desk
from ui.features import FeaturesTab
from ui.folder import FolderTab
from ui.offline import LocalBlocks  # before Gradio
from ui.pair import PairDesk
from ui.parts import Parts
from ui.segment import wire_segment
from ui.wiring import browser_tab
from ui.workshop import Runner, Save, Workshop, at_once

import gradio as gr  # isort: skip

TITLE = "stego – segments without labels"
_INTRO = """# Segments without labels
Drop a photo: every region gets a class that means the same in every image. No labels, no prompts; your images stay on this machine."""
_FOOT = "The same over HTTP: `POST /v1/segment` – see [/openapi.json](/openapi.json). For whole folders: `stego label`."
# Seconds: how often Gradio's temporary files are looked through, and how old they may get. Photos of an album, and its pictures, are among
# them from the moment they come: `ui.folder.MOST` photos that take all of the service's time for one last 33 hours, and shall be edited and
# fetched afterwards.
_KEEP_FILES = (3600, 172_800)


def build_demo(catalog: CatalogLike, *, max_pixels: int = 40_000_000, run: Runner = at_once, folder: Path | None = None, save: Save | None = None) -> gr.Blocks:
    """The page as Gradio Blocks, to be mounted or launched.

    Args:
        catalog: the segmenters on offer.
        max_pixels: largest image taken.
        run: where segmenting happens, e.g. the service's worker; in Gradio's own threads by default.
        folder: a folder of images on the server that visitors may have segmented.
        save: keeps an edited segmenter on the server under a name.
    """
    with LocalBlocks(title=TITLE, fill_width=True, delete_cache=_KEEP_FILES) as demo:
        _build(demo, Workshop(catalog, demo.files, max_pixels, run, folder, save))
    return demo


def _build(demo: LocalBlocks, shop: Workshop) -> None:
    names = shop.catalog.names()
    desk, pairs, benches = Desk(shop), PairDesk(shop), CompareDesk(shop)
    with gr.Row(elem_id="top"):
        gr.Markdown(_INTRO, elem_id="head")
        model = gr.Dropdown(names, value=shop.catalog.default, label="Model", visible=len(names) > 1, scale=0, min_width=220, elem_id="model")
    with gr.Tabs(elem_id="tabs") as tabs:
        with gr.Tab("Segment", id="segment"):
            parts = Parts(shop)
        with gr.Tab("Correspondences", id="correspondences") as correspondences:
            pair_tab = CorrespondenceTab(pairs, desk, model)
        with gr.Tab("Features", id="features") as features:
            features_tab = FeaturesTab(shop, desk, model)
        with gr.Tab("Folder", id="folder"):
            folder_tab = FolderTab(shop, desk, parts, model)
        with gr.Tab("Compare", id="compare") as compare:
            compare_tab = CompareTab(benches, desk)
    gr.Markdown(_FOOT, elem_id="foot")
    do = wire_segment(desk, parts, model)
    pair_tab.wire(correspondences)
    features_tab.wire(features)
    folder_tab.wire(tabs)
    compare_tab.wire(compare)

    def arrived() -> gr.Dropdown:
        """A browser's tab was opened: models may have been added since the server started."""
        now = shop.catalog.names()
        return gr.Dropdown(choices=now, visible=len(now) > 1)

    demo.load(arrived, None, [model], api_visibility="private", show_progress="hidden")

    def left(request: gr.Request) -> None:
        """The browser's tab was closed: let go of everything it had."""
        do.left(request)
        tab = browser_tab(request)
        for part in (pairs, benches, features_tab, folder_tab):
            part.drop(tab)

    demo.unload(left)
