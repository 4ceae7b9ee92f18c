"""Pictures made in memory, for the tests of reading images."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from models.errors import StegoError

RANDOM = np.random.default_rng(0)


PIXELS = RANDOM.integers(0, 256, (6, 9, 3), dtype=np.uint8)


SMOOTH = np.dstack([np.add.outer(np.arange(48) * 2, np.arange(64) * k) for k in (1, 2, 0)]).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_declaring(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header declares any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def one_line(error: pytest.ExceptionInfo[StegoError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message
