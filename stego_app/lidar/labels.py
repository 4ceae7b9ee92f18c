"""SemanticKITTI's label files: one uint32 a point, the class in its low 16 bits (Behley et al., 2019)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from stego_app.atomic import write_bytes
from stego_app.lidar.scan import ScanError

VOID = 255
NAMES = (
    "car", "bicycle", "motorcycle", "truck", "other-vehicle", "person", "bicyclist", "motorcyclist", "road", "parking",
    "sidewalk", "other-ground", "building", "fence", "vegetation", "trunk", "terrain", "pole", "traffic-sign",
)  # fmt: skip
"""The 19 classes of the benchmark (Behley et al. 2019, table 2)."""

_STORED = {
    10: 0, 11: 1, 15: 2, 18: 3, 13: 4, 16: 4, 20: 4, 30: 5, 31: 6, 32: 7, 40: 8, 60: 8, 44: 9, 48: 10, 49: 11, 50: 12, 51: 13, 70: 14, 71: 15, 72: 16,
    80: 17, 81: 18, 252: 0, 253: 6, 254: 5, 255: 7, 256: 4, 257: 4, 258: 3, 259: 4,
}  # fmt: skip
"""Numbers in the files to `NAMES`: what moves counts as what stands still; all others (0, 1, 52, 99) are void."""


def label_path(scan: Path) -> Path | None:
    """The label file of a scan: beside it, or in SemanticKITTI's ``labels/`` next to its ``velodyne/``; None where there is none."""
    beside = scan.with_suffix(".label")
    elsewhere = scan.parent.parent / "labels" / beside.name
    return next((path for path in (beside, elsewhere) if path.is_file()), None)


def read_numbers(path: Path, total: int) -> npt.NDArray[np.uint32]:
    """The numbers (total,) in a label file.

    Raises:
        ScanError: it cannot be read, or has not one number a point.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ScanError(f"{path}: cannot be read ({error.strerror})") from error
    if len(raw) != 4 * total:
        raise ScanError(f"{path}: {len(raw)} bytes; expected a uint32 for each of the {total} points of its scan")
    return np.frombuffer(raw, "<u4")


def read_classes(path: Path, total: int) -> npt.NDArray[np.uint8]:
    """The class (total,) of each point, an index of `NAMES` or `VOID`.

    Raises:
        ScanError: see `read_numbers`.
    """
    table = np.full(1 << 16, VOID, np.uint8)
    table[list(_STORED)] = list(_STORED.values())
    classes: npt.NDArray[np.uint8] = table[read_numbers(path, total) & 0xFFFF]
    return classes


def write_numbers(path: Path, numbers: npt.NDArray[np.integer]) -> None:
    """Write a label file, whole or not at all.

    Raises:
        StegoError: see `stego_app.atomic.write_bytes`.
    """
    write_bytes(path, numbers.astype("<u4").tobytes())
