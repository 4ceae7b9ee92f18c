"""The way in: a folder to a data set, by the layout named or recognised."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from models.errors import StegoError
from stego_app.data.camvid import is_camvid, open_camvid
from stego_app.data.cityscapes27 import is_cityscapes, open_cityscapes27
from stego_app.data.cocostuff27 import is_cocostuff, open_cocostuff27
from stego_app.data.dataset import Dataset, thinned
from stego_app.data.folder import open_folder
from stego_app.data.potsdam3 import is_potsdam, open_potsdam3

_PUBLISHED: dict[str, tuple[Callable[[Path], bool], Callable[[Path, str | None], Dataset]]] = {
    "camvid": (is_camvid, open_camvid),
    "cocostuff27": (is_cocostuff, open_cocostuff27),
    "cityscapes27": (is_cityscapes, open_cityscapes27),
    "potsdam3": (is_potsdam, open_potsdam3),
}

LAYOUTS = ("folder", *_PUBLISHED)
"""The names of the layouts."""


def open_dataset(path: Path, *, split: str | None = None, layout: str = "auto", labels: Path | None = None) -> Dataset:
    """The data set in the folder ``path``.

    Args:
        path: the folder.
        split: a split of the layout ("train", "val"), several joined by "+", or None for all that are there. With "@1000" after it,
            a thousand of its images, evenly spaced: a large set on a small disk.
        layout: one of `LAYOUTS`, or "auto" to tell by the names of sub-folders (a plain folder where none of the published layouts fits).
        labels: a folder of label PNGs for a plain folder of images; implies that layout.

    Raises:
        StegoError: no such folder, unknown layout or split, no images, or missing labels.
    """
    if layout not in {"auto", *LAYOUTS}:
        raise StegoError(f"layout {layout!r}: expected auto, {', '.join(LAYOUTS)}")
    if not path.exists():
        raise StegoError(f"{path}: no such folder")
    if not path.is_dir():
        raise StegoError(f"{path}: is a file; expected a folder of images")
    if labels is not None and layout not in {"auto", "folder"}:
        raise StegoError(f"labels {labels}: the layout {layout} has its own labels; a folder of labels goes with the layout 'folder'")
    if split is not None and (match := re.fullmatch(r"(.*)@(\d+)", split)):
        return thinned(open_dataset(path, split=match[1] or None, layout=layout, labels=labels), int(match[2]))
    if labels is None:
        for name, (recognised, opened) in _PUBLISHED.items():
            if layout == name or (layout == "auto" and recognised(path)):
                return opened(path, split)
    return open_folder(path, split, labels)
