"""COCO's compressed run-length code of a mask, and back; through pycocotools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from models.errors import StegoError


def coco_rle(mask: npt.NDArray[Any]) -> dict[str, Any]:
    """``mask`` (H, W), bool or 0 and not 0, as ``{"size": [H, W], "counts": text}``, ready for JSON.

    Counts run down the columns, as COCO has it.
    """
    # Also for an array that is column-major already, since the library reads the memory as it lies.
    encoded = coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8))
    return {"size": [int(side) for side in mask.shape], "counts": encoded["counts"].decode("ascii")}


def read_coco_rle(rle: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    """The mask (H, W) of a run-length code, compressed (text) or not (a list of counts).

    Raises:
        StegoError: no such code, or one that does not fill its size.
    """
    try:
        height, width = (int(side) for side in rle["size"])
        counts = rle["counts"]
        packed = dict(rle) if isinstance(counts, (str, bytes)) else coco_mask.frPyObjects({"size": [height, width], "counts": list(counts)}, height, width)
        if _pixels(packed) != height * width:
            raise ValueError("the counts do not fill the size")
        mask: npt.NDArray[np.bool_] = coco_mask.decode(packed).astype(bool)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise StegoError(f"run-length code: {error}; expected size [height, width] and counts that fill it") from error
    return mask


def _pixels(packed: Mapping[str, Any]) -> int:
    """Sum of all counts of a compressed code. The library itself would read or write beyond the mask where it is not that of the size."""
    text = packed["counts"]
    data = text.encode("ascii") if isinstance(text, str) else bytes(text)
    counts: list[int] = []
    value, shift = 0, 0
    # Five bits a character, the sixth for "goes on"; the last one's fifth is the sign; from the third count on the one two before is added.
    for byte in data:
        code = byte - 48
        if not 0 <= code < 64:
            raise ValueError("a character that no count is written with")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        value -= (1 << shift) if code & 16 else 0
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        if counts[-1] < 0:
            raise ValueError("a negative count")
        value, shift = 0, 0
    if shift:
        raise ValueError("the last count is cut short")
    return sum(counts)
