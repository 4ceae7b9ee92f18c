"""The run-length code of Label Studio's brush: a packed stream of bits over a mask that is repeated in four channels.

The layout is that of @thi.ng/rle-pack: 32 bits for the number of values, 5 for the bits of a value less one, 4 for each
of four run sizes less one; then for each run one bit (1 = one value repeated), two that choose a run size, the
length less one in that many bits, and the value (or, where the first bit is 0, as many values as the length says).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import StegoError

CHANNELS = 4
"""A brush's mask is kept as red, green, blue and alpha, all alike."""

_SIZES = (3, 4, 8, 16)
_LONGEST = 1 << _SIZES[-1]
_VALUE_BITS = 8
_HEAD_BITS = 32 + 5 + 4 * len(_SIZES)


def brush_rle(mask: npt.NDArray[Any]) -> list[int]:
    """``mask`` (H, W), bool or 0 and not 0, as the bytes of the ``rle`` field of a brush; drawn pixels are 255, others 0.

    Raises:
        StegoError: too many pixels for the code's 32-bit length.
    """
    flat = (mask != 0).ravel()
    if flat.size * CHANNELS >= 1 << 32:
        raise StegoError(f"a mask of {flat.size:,} pixels is too large for a brush; expected fewer than {(1 << 32) // CHANNELS:,}")
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1]) if flat.size else np.zeros(0, dtype=np.int64)
    lengths = np.diff(np.concatenate([starts, [flat.size]])) * CHANNELS
    values = np.where(flat[starts], 255, 0)
    lengths, values = _cut(lengths, values)
    head = f"{flat.size * CHANNELS:032b}{_VALUE_BITS - 1:05b}" + "".join(f"{size - 1:04b}" for size in _SIZES)
    bits = np.concatenate([np.frombuffer(head.encode("ascii"), dtype=np.uint8) - ord("0"), _run_bits(lengths, values)])
    packed: list[int] = np.packbits(bits).tolist()
    return packed


def read_brush_rle(rle: Sequence[int], height: int, width: int) -> npt.NDArray[np.uint8]:
    """The mask (H, W) uint8, 0 to 255, of a brush: its alpha channel.

    Raises:
        StegoError: not such a code, or not for this size.
    """
    try:
        text = "".join(f"{byte:08b}" for byte in bytes(rle))
        values = _decode(text, height * width * CHANNELS)
    except (ValueError, TypeError, IndexError, OverflowError, MemoryError) as error:
        raise StegoError(f"brush: {error}; expected the run-length code of {height} × {width} pixels in {CHANNELS} channels") from error
    return values.reshape(height, width, CHANNELS)[..., -1].copy()


def _cut(lengths: npt.NDArray[np.int64], values: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Runs longer than the code can say, as several."""
    parts = np.maximum(1, -(-lengths // _LONGEST))
    last = np.cumsum(parts) - 1
    result = np.full(int(parts.sum()), _LONGEST, dtype=np.int64)
    result[last] = lengths - (parts - 1) * _LONGEST
    return result, np.repeat(values, parts)


def _run_bits(lengths: npt.NDArray[np.int64], values: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Bits of all runs, one after the other."""
    sizes = np.array(_SIZES)
    choice = np.searchsorted(1 << sizes, lengths)
    width = 3 + sizes[choice] + _VALUE_BITS
    # A run as one number: 1, two bits of choice, the length less one, the value.
    number = (((((1 << 2) | choice) << sizes[choice]) | (lengths - 1)) << _VALUE_BITS) | values
    place = np.arange(3 + _SIZES[-1] + _VALUE_BITS)
    shift = width[:, None] - 1 - place
    table = (number[:, None] >> np.maximum(shift, 0)) & 1
    bits: npt.NDArray[np.uint8] = table[shift >= 0].astype(np.uint8)
    return bits


def _decode(text: str, expected: int) -> npt.NDArray[np.uint8]:
    if len(text) < _HEAD_BITS or int(text[:32], 2) != expected:
        raise ValueError(f"it says {int(text[:32] or '0', 2)} values")
    value_bits = int(text[32:37], 2) + 1
    sizes = [int(text[37 + 4 * index : 41 + 4 * index], 2) + 1 for index in range(len(_SIZES))]
    if value_bits != _VALUE_BITS:
        raise ValueError(f"{value_bits} bits a value")
    result = np.zeros(expected, dtype=np.uint8)
    at, done = _HEAD_BITS, 0
    while done < expected:
        size = sizes[int(text[at + 1 : at + 3], 2)]
        length = int(text[at + 3 : at + 3 + size], 2) + 1
        repeated = text[at] == "1"
        at += 3 + size
        held = 1 if repeated else length
        if done + length > expected or at + held * _VALUE_BITS > len(text):
            raise ValueError("it is cut short, or its runs are too long")
        values = [int(text[at + step : at + step + _VALUE_BITS], 2) for step in range(0, held * _VALUE_BITS, _VALUE_BITS)]
        result[done : done + length] = values
        at, done = at + held * _VALUE_BITS, done + length
    return result
