"""The demo: the embedded segmenter on the photos that the installed packages bring, as an album to look at."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path

import numpy as np

from models.errors import StegoError
from stego_app.atomic import write_bytes, write_text
from stego_app.demo_images import example_images
from stego_app.images import read_image
from stego_app.progress import Progress, silent
from stego_app.report import html
from stego_app.segmenter import Segmenter


def distinct_names(photos: Sequence[Path]) -> list[str]:
    """A name without suffix for each photo; numbered where two would be the same, even on disks that do not tell capitals apart."""
    names: list[str] = []
    taken: set[str] = set()
    for photo in photos:
        candidates = chain([photo.stem], (f"{photo.stem}-{number}" for number in count(2)))
        name = next(candidate for candidate in candidates if candidate.casefold() not in taken)
        taken.add(name.casefold())
        names.append(name)
    return names


def run_demo(out: Path, *, device: str = "auto", progress: Progress = silent) -> Path:
    """Segment the example photos into ``out`` and return the album, ``out/album.html``.

    Raises:
        StegoError: no example photo is installed, or ``out`` cannot be written to.
    """
    photos = example_images()
    if not photos:
        raise StegoError("no example photo found; they come with the packages scikit-learn and gradio: uv sync --reinstall")
    started = time.monotonic()
    segmenter = Segmenter.load("default", device=device)
    shown, shares = [], np.zeros(len(segmenter.class_names()))
    for number, (path, key) in enumerate(zip(photos, distinct_names(photos), strict=True)):
        image = read_image(path)
        result = segmenter(image)
        write_bytes(out / "labels" / f"{key}.png", result.to_index_png())
        write_bytes(out / "overlays" / f"{key}.jpg", result.to_overlay_jpeg())
        shown.append((key, html.reduced(image), html.reduced(result.overlay())))
        shares += np.bincount(result.labels[result.labels < len(shares)], minlength=len(shares)) / result.labels.size / len(photos)
        progress("segmenting", number + 1, len(photos))
    present = [label for label in np.argsort(-shares) if shares[label] > 0]
    names, colors = segmenter.class_names(), segmenter.palette()
    album = out / "album.html"
    lead = f"{len(photos)} photos, {len(present)} of {len(names)} classes, {time.monotonic() - started:.0f} s. No label was used, here or in training."
    sections = [
        ("Segments", html.pairs(shown)),
        ("Classes", html.legend([names[i] for i in present], [colors[i].tolist() for i in present], [float(shares[i]) for i in present])),
    ]
    write_text(album, html.page("Segments without labels", lead, sections))
    return album
