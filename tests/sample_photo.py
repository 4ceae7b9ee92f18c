"""A small image file to send around."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image


def photo(height: int = 60, width: int = 80, kind: str = "PNG") -> bytes:
    """An image file: sky above, grass below, a red box in the middle."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2] = (90, 150, 230)
    pixels[height // 2 :] = (60, 170, 50)
    pixels[height // 4 : height // 2, width // 4 : width // 2] = (200, 40, 40)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()
