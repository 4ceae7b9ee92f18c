"""Small pictures of three colours, as files of a folder."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image
from sample_photo import photo


def bed_photos(count: int) -> list[tuple[str, npt.NDArray[np.uint8]]]:
    """Names and pixels: sky, grass and a red box, each turned further round."""
    pixels = np.asarray(Image.open(BytesIO(photo(60, 80))))
    return [(f"bed-{number}.png", np.ascontiguousarray(np.roll(pixels, 9 * number, axis=1))) for number in range(count)]
