"""The size of an image as it is seen, without decoding its pixels."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

from models.errors import StegoError

_TURNED = (5, 6, 7, 8)
_ORIENTATION = 0x0112


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of an image file, turned as its EXIF orientation says.

    Raises:
        StegoError: missing, or not an image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                orientation = 1 if image.format == "TIFF" else image.getexif().get(_ORIENTATION, 1)
                return image.size[::-1] if orientation in _TURNED else image.size
    except Exception as error:  # a damaged header can make a plugin raise anything
        raise StegoError(f"{path}: not a readable image ({' '.join(str(error).split())})") from error
