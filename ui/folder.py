"""The tab "Folder": many photos segmented with the same classes, as an album and as one download."""

from __future__ import annotations

import html
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from models.errors import StegoError
from stego_app.demo_images import example_images
from stego_app.segmentation import hex_color
from ui.album import Album, Albums, distinct_uploads, folder_images, segment_all
from ui.desk import Desk
from ui.downloads import Downloads
from ui.exports import PNG, choices, write_album
from ui.offline import uploaded  # before Gradio
from ui.parts import Parts
from ui.pictures import share_text
from ui.sitting import in_range
from ui.wiring import Updates, browser_tab, on, on_download, on_steps
from ui.workshop import Workshop

import gradio as gr  # isort: skip

MOST = 1000
"""Photos that one visitor may have segmented at once; larger folders are for `stego label`."""

SHOWN = 200
"""Pictures in the album; the download holds all."""

_SMALL = 0.01  # share of the pixels below which a class is not listed by itself

_LEAD = "**The same classes in every photo.** The model, granularity, borders and edited classes of the tab *Segment* are used."


class FolderTab:
    """Components and handlers of the tab.

    Args:
        shop: the page's means.
        desk: of the tab "Segment", whose edited classes are used.
        parts: its components, for the settings, and to open a photo there.
        model: the choice of a segmenter, above all tabs.
    """

    def __init__(self, shop: Workshop, desk: Desk, parts: Parts, model: gr.Dropdown) -> None:
        self._shop, self._desk, self._parts, self._model = shop, desk, parts, model
        self._albums = Albums(shop.files)
        self._opened = Downloads(shop.files)
        gr.Markdown(_LEAD, elem_classes="lead")
        with gr.Row(elem_classes="board"):
            with gr.Column(scale=2, min_width=300):
                self._input()
            with gr.Column(scale=3, min_width=320):
                self._result()

    def _input(self) -> None:
        folder = self._shop.folder
        self.files = gr.File(label="Drop many photos here", file_count="multiple", file_types=["image"], height=190, elem_id="folder-files")
        with gr.Row(elem_classes="tight"):
            self.start = gr.Button("Segment them", variant="primary", size="md", min_width=130, elem_id="folder-start")
            self.stop = gr.Button("Stop", size="md", min_width=90, interactive=False, elem_id="folder-stop")
        label = f"Segment this server's folder “{folder.name}”" if folder is not None else ""
        self.given = gr.Button(label, size="md", visible=folder is not None, elem_id="folder-given")
        self.examples = gr.Button("Try the example photos", size="md", visible=bool(example_images()), elem_id="folder-examples")

    def _result(self) -> None:
        self.progress = gr.HTML("", elem_id="folder-progress")
        self.gallery = gr.Gallery(
            label="Album",
            columns=3,
            fit_columns=False,
            height=560,
            object_fit="cover",
            allow_preview=True,
            buttons=["fullscreen"],
            interactive=False,
            elem_id="album",
        )
        self.legend = gr.HTML("", elem_id="album-legend")
        with gr.Column(visible=False, elem_id="album-take-away") as self.take_away, gr.Row(elem_classes="tight low"):
            self.format = gr.Dropdown(choices(), value=PNG, label="Take all of them away as", scale=3, min_width=250, elem_id="album-format")
            self.download = gr.Button("Download", size="md", scale=1, min_width=110, elem_id="album-download")
            self.edit = gr.Button("Edit in Segment", size="md", scale=1, min_width=130, interactive=False, elem_id="album-edit")
        self.chosen = gr.State(-1)
        self.file = gr.File(visible=False)

    def wire(self, tabs: gr.Tabs) -> None:
        """Connect the tab's events; ``tabs`` are all tabs, for going to "Segment"."""
        self._tabs = tabs
        settings = [self._model, self._parts.classes, self._parts.crf]
        outputs = [self.progress, self.gallery, self.legend, self.take_away, self.stop, self.edit, self.chosen]
        nothing: Updates = {self.stop: gr.update(interactive=False)}  # a component made here would be one more on the page
        running = [
            on_steps(self.start.click, self.dropped, [self.files, *settings], outputs, nothing, preprocess=False, show_progress="hidden"),
            on_steps(self.given.click, self.server_folder, settings, outputs, nothing, show_progress="hidden"),
            on_steps(self.examples.click, self.example_photos, settings, outputs, nothing, show_progress="hidden"),
        ]
        on(self.stop.click, self.stopped, [], outputs, nothing, cancels=running, show_progress="hidden")
        on(self.gallery.select, self.picked, [], [self.chosen, self.edit], {self.chosen: -1}, show_progress="hidden")
        on(self.edit.click, self.opened, [self.chosen], [self._parts.image, tabs], {tabs: gr.skip()}, show_progress="hidden")
        on_download(self.download, self.wanted, [self.format], self.file)

    def drop(self, tab: str) -> None:
        """Remove the album of ``tab``."""
        self._albums.drop(tab)
        self._opened.drop(tab)

    def dropped(self, payload: list[dict[str, Any]] | None, model: str, classes: float, crf: float, request: gr.Request) -> Iterator[Updates]:
        """Segment the photos that were dropped."""
        if not payload:
            raise StegoError("drop some photos first")
        return self._run(distinct_uploads([uploaded(entry, self._shop.files) for entry in payload]), model, classes, crf, browser_tab(request))

    def server_folder(self, model: str, classes: float, crf: float, request: gr.Request) -> Iterator[Updates]:
        """Segment the folder that the server was started with."""
        if self._shop.folder is None:
            raise StegoError("this server was started without a folder; see stego ui --folder")
        return self._run(folder_images(self._shop.folder), model, classes, crf, browser_tab(request))

    def example_photos(self, model: str, classes: float, crf: float, request: gr.Request) -> Iterator[Updates]:
        """Segment the example photos."""
        return self._run(distinct_uploads(example_images()), model, classes, crf, browser_tab(request))

    def _run(self, images: Sequence[tuple[PurePosixPath, Path]], model: str, classes: float, crf: float, tab: str) -> Iterator[Updates]:
        if len(images) > MOST:
            raise StegoError(f"{len(images)} photos: the page takes {MOST} at a time; for more there is `stego label`")
        sitting = self._desk.find(tab)
        segmenter = sitting.segmenter if sitting is not None and sitting.model == model else self._shop.catalog.get(model)
        count = in_range(int(classes), segmenter)
        for album in segment_all(self._shop, self._albums, tab, segmenter, images, classes=count, crf=crf):
            yield self._show(album, running=album.done < album.total)

    def _show(self, album: Album, *, running: bool) -> Updates:
        updates: Updates = {
            self.progress: progress_html(album, running=running),
            self.gallery: [(str(page.thumbnail), page.name) for page in album.pages[:SHOWN]],
            self.legend: legend_html(album),
            self.stop: gr.Button(interactive=running),
            self.take_away: gr.Column(visible=bool(album.pages)),
        }
        if not album.done:
            updates |= {self.chosen: -1, self.edit: gr.Button(interactive=False)}
        return updates

    def stopped(self, request: gr.Request) -> Updates:
        """No further photo is begun; those that are done stay."""
        album = self._albums.get(browser_tab(request))
        return {self.stop: gr.Button(interactive=False)} if album is None else self._show(album, running=False)

    def picked(self, event: gr.SelectData) -> Updates:
        """A picture of the album was clicked."""
        return {self.chosen: int(event.index), self.edit: gr.Button(interactive=True)}

    def opened(self, chosen: int, request: gr.Request) -> Updates:
        """The chosen photo is opened in the tab "Segment"."""
        album = self._albums.get(browser_tab(request))
        if album is None or not 0 <= chosen < len(album.pages):
            raise StegoError("click a picture of the album first")
        image = album.pages[chosen].label_map.image
        if image is None or not image.path.is_file():
            raise StegoError(f"{album.pages[chosen].name}: the photo is not here any more: drop it once again")
        # A copy where the page may show it: the server's own folder stays closed to browsers.
        copy = self._opened.write(browser_tab(request), image.path.name, lambda path: shutil.copyfile(image.path, path))
        return {self._parts.image: str(copy), self._tabs: gr.Tabs(selected="segment")}

    def wanted(self, kind: str, request: gr.Request) -> Updates:
        """All label maps in the chosen format."""
        tab = browser_tab(request)
        album = self._albums.get(tab)
        if album is None or not album.pages:
            raise StegoError("there is nothing to download yet: segment some photos first")
        return {self.file: str(write_album(self._shop.downloads, tab, kind, [page.label_map for page in album.pages], album.classes))}


def progress_html(album: Album, *, running: bool) -> str:
    """A bar and a line: how many, how fast, how long still; and what failed."""
    parts = [f"{album.done} of {album.total}"]
    if running and album.done:
        rate = album.done / max(album.seconds, 1e-6)
        parts += [f"{rate:.1f} photos a second" if rate >= 1 else f"{1 / rate:.1f} s a photo", f"about {(album.total - album.done) / rate:.0f} s left"]
    elif not running:
        parts.append("done" if album.done == album.total else "stopped")
    bar = f'<progress max="{album.total}" value="{album.done}" aria-label="Photos segmented"></progress>'
    failures = "".join(f"<li>{html.escape(reason)}</li>" for _, reason in album.failures[:20])
    told = f"<details open><summary>{len(album.failures)} could not be read</summary><ul>{failures}</ul></details>" if album.failures else ""
    return f'<div role="status">{bar}<p>{" · ".join(parts)}</p></div>{told}'


def legend_html(album: Album) -> str:
    """The classes of an album by falling share, each with its colour and a bar as long as its share of the largest; small ones are counted only."""
    shares = album.shares()
    largest, small = float(shares.max(initial=0)), int(np.sum((shares > 0) & (shares < _SMALL)))
    rows = []
    for label in np.argsort(-shares, kind="stable"):
        if shares[label] >= _SMALL:
            color, name = hex_color(album.classes.colors[label]), html.escape(album.classes.names[label])
            bar = f'<span class="bar" style="width:{100 * shares[label] / largest:.1f}%;background:{color}"></span>'
            rows.append(
                f'<li><span class="name">{name}</span><span class="track">{bar}</span><span class="share">{share_text(float(shares[label]))}</span></li>'
            )
    others = f"<p>and {small} below 1 % of the pixels</p>" if small else ""
    return f'<ul class="classes">{"".join(rows)}</ul>{others}' if rows else ""
