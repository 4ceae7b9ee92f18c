"""Parts that tests of jobs share: small archives, a tiny real segmenter file, and waiting."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO

import numpy as np
from model_file import write_model
from PIL import Image

__all__ = ["archive", "photos", "picture", "wait_until", "write_model"]


def picture(seed: int, height: int = 48, width: int = 64) -> bytes:
    """A PNG of a plain sky over a striped ground, with some noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    ground = np.where((columns + rows) // 3 % 2, 160, 90)[..., None] * np.array([0.4, 1.0, 0.3])
    image = np.where((rows > height * random.uniform(0.3, 0.7))[..., None], ground, (90, 140, 220)) + random.normal(0, 6, (height, width, 3))
    buffer = BytesIO()
    Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def archive(files: Mapping[str, bytes], *, packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these files."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as target:
        for name, data in files.items():
            target.writestr(name, data)
    return buffer.getvalue()


def photos(count: int) -> dict[str, bytes]:
    """Pictures, half of them in a sub-folder."""
    return {f"{'more/' if number % 2 else ''}photo{number:03}.png": picture(number) for number in range(count)}


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something to come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)
