"""An index or grey PNG written row by row, so that it need never be whole in memory."""

from __future__ import annotations

import struct
import zlib
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import numpy.typing as npt

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EIGHT_BITS, _GREY, _PALETTE = 8, 0, 3
_WHOLE = 1 << 20


class RowsPng:
    """Writes an 8-bit PNG (PNG specification, third edition, sections 5 and 10) to an open file.

    >>> with RowsPng(file, height, width, palette) as png:
    ...     png.write(labels)  # (n, width) uint8, until there are height rows
    """

    def __init__(self, file: BinaryIO, height: int, width: int, palette: npt.NDArray[np.uint8] | None = None) -> None:
        """``palette`` (K, 3) uint8, further values are black; None for grey."""
        self._file, self._width, self._left = file, width, height
        self._packer = zlib.compressobj(6)
        file.write(_SIGNATURE)
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, _EIGHT_BITS, _GREY if palette is None else _PALETTE, 0, 0, 0))
        if palette is not None:
            table = np.zeros((256, 3), dtype=np.uint8)
            table[: len(palette)] = palette
            self._chunk(b"PLTE", table.tobytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            if self._left:
                raise ValueError(f"{self._left} rows are missing")
            self._chunk(b"IDAT", self._packer.flush())
            self._chunk(b"IEND", b"")

    def write(self, rows: npt.NDArray[np.uint8]) -> None:
        """The next rows (n, W) uint8."""
        if rows.ndim != 2 or rows.shape[1] != self._width or len(rows) > self._left:
            raise ValueError(f"rows of shape {rows.shape}; expected {self._width} columns and at most {self._left} rows")
        self._left -= len(rows)
        # Each row starts with the number of its filter: none, which suits indices.
        data = self._packer.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
        for start in range(0, len(data), _WHOLE):
            self._chunk(b"IDAT", data[start : start + _WHOLE])

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self._file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
