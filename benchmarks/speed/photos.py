"""Photos to measure on: a folder's, or those that other installed packages bring along."""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path

from stego_app.demo_images import example_images
from stego_app.images import find_images


def copies(folder: Path | None, count: int, into: Path) -> list[Path]:
    """``count`` image files in ``into``, no two with the same bytes: copies of a folder's images, or of the demo's photos if None."""
    sources = find_images(folder) if folder else example_images()
    into.mkdir(parents=True, exist_ok=True)
    made = []
    for number, source in enumerate(islice(cycle(sources), count)):
        made.append(into / f"{number:04d}{source.suffix}")
        made[-1].write_bytes(source.read_bytes() + number.to_bytes(4, "little"))  # decoders ignore what follows the image
    return made
