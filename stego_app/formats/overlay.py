"""Colours over the pictures, to look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from models.errors import StegoError
from stego_app.atomic import write_bytes
from stego_app.formats.label_map import Classes, LabelMap, checked_labels
from stego_app.formats.registry import Add, Format
from stego_app.images import read_image
from stego_app.segmentation import Segmentation

FOLDER = "overlays"


def encode(item: LabelMap, classes: Classes) -> tuple[str, bytes]:
    """Where the picture goes, and the picture as a JPEG.

    Raises:
        StegoError: the image is not known, cannot be read, or has another size.
    """
    if item.image is None:
        raise StegoError(f"{item.name}: an overlay needs the image itself; name its folder by --images")
    try:
        image = read_image(item.image.read_bytes(), name=str(item.image))
    except OSError as error:
        raise StegoError(f"{item.image}: cannot be read ({error.strerror or error})") from error
    labels = checked_labels(item, classes)
    if image.shape[:2] != labels.shape:
        raise StegoError(f"{item.image}: {image.shape[1]} × {image.shape[0]} pixels; its label map has {labels.shape[1]} × {labels.shape[0]}")
    nothing = np.zeros((0, 0), dtype=np.float32)  # scores, which an overlay does not show
    return f"{item.key}.jpg", Segmentation(image, labels, nothing, list(classes.names), classes.colors).to_overlay_jpeg()


@contextmanager
def writer(out: Path, _classes: Classes) -> Iterator[Add]:
    """See `Format.writer`."""

    def add(share: tuple[str, bytes]) -> None:
        write_bytes(out / FOLDER / share[0], share[1])

    yield add


FORMAT = Format(
    name="overlay",
    product=FOLDER,
    about="colours over the pictures, JPEG",
    encode=encode,
    writer=writer,
    outputs=lambda items: [f"{FOLDER}/{item.key}.jpg" for item in items],
    read=None,
    needs_image=True,
)
