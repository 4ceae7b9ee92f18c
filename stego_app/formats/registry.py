"""The formats by name. A format is a module with ``FORMAT``; what it does for one image runs in worker processes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import StegoError
from stego_app.formats.label_map import Classes, LabelMap, LabelSet

Add = Callable[[Any], None]


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: on the command line.
        product: the file or folder it makes inside the output folder.
        about: one line for people.
        encode: one image's share, picklable; ``encode(item, classes)``.
        writer: ``with writer(out, classes) as add``: ``add(share)`` for each image in order; what is made takes its place at the end.
        outputs: the files made for images of these keys, relative to the output folder.
        read: label maps back from a file or folder; None where the format does not hold them.
        exact: whether labels come back pixel for pixel.
        needs_image: whether the images themselves are needed.
        check: raises a `StegoError` where something it needs is not installed.
    """

    name: str
    product: str
    about: str
    encode: Callable[[LabelMap, Classes], Any]
    writer: Callable[[Path, Classes], AbstractContextManager[Add]]
    outputs: Callable[[list[LabelMap]], list[str]]
    read: Callable[[Path], LabelSet] | None
    exact: bool = True
    needs_image: bool = False
    check: Callable[[], None] = lambda: None


def formats() -> dict[str, Format]:
    """All formats by name. Their libraries load when they are asked for."""
    from stego_app.formats import coco, cvat, cvat_mask, geotiff, label_studio, labelme, overlay, voc, yolo

    modules = (voc.FORMAT, cvat_mask.FORMAT, cvat.FORMAT, coco.FORMAT, coco.INSTANCES, yolo.FORMAT, labelme.FORMAT, label_studio.FORMAT)
    return {entry.name: entry for entry in (*modules, geotiff.FORMAT, overlay.FORMAT)}


def find_format(name: str) -> Format:
    """The format called ``name``.

    Raises:
        StegoError: there is none.
    """
    known = formats()
    if name not in known:
        raise StegoError(f"format '{name}': unknown; expected png, {', '.join(known)}")
    return known[name]
