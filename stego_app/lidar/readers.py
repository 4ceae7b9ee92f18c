"""Scan files by their endings: KITTI, nuScenes, PCD, and compact npz."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.formats.safe_zip import DAMAGED
from stego_app.lidar.pcd import read_pcd
from stego_app.lidar.scan import Scan, ScanError, checked_scan

STEP = 0.005
"""Metres of one unit of a compact npz."""


def read_kitti(path: Path, raw: bytes) -> Scan:
    """KITTI's and SemanticKITTI's ``.bin``: float32 x, y, z, intensity in [0, 1] (Geiger et al., 2013).

    Raises:
        ScanError: not rows of four numbers, or see `checked_scan`.
    """
    rows = _table(path, raw, 4, "x y z intensity")
    return checked_scan(str(path), rows[:, :3], rows[:, 3])


def read_nuscenes(path: Path, raw: bytes) -> Scan:
    """nuScenes' ``.pcd.bin``: float32 x, y, z, intensity in 0 to 255, ring (Caesar et al., 2020).

    Raises:
        ScanError: not rows of five numbers, or see `checked_scan`.
    """
    rows = _table(path, raw, 5, "x y z intensity ring")
    return checked_scan(str(path), rows[:, :3], rows[:, 3] / 255)


def read_compact(path: Path, raw: bytes) -> Scan:
    """An ``.npz`` of ``xyz_5mm`` (N, 3) int16 in units of 5 mm and ``intensity`` (N,) uint8.

    Raises:
        ScanError: other arrays, or see `checked_scan`.
    """
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
            units, intensity = arrays["xyz_5mm"], arrays["intensity"]
    except (OSError, TypeError, *DAMAGED) as error:  # TypeError: one array, not an archive of them
        raise ScanError(f"{path}: not a scan ({error}); expected an npz of 'xyz_5mm' (N, 3) int16 and 'intensity' (N,) uint8") from error
    if units.dtype != np.int16 or units.ndim != 2 or units.shape[1] != 3 or intensity.dtype != np.uint8 or intensity.shape != units.shape[:1]:
        found = f"'xyz_5mm' {units.shape} {units.dtype} and 'intensity' {intensity.shape} {intensity.dtype}"
        raise ScanError(f"{path}: {found}; expected (N, 3) int16 and (N,) uint8")
    return checked_scan(str(path), units * np.float32(STEP), intensity / np.float32(255))


def _table(path: Path, raw: bytes, columns: int, names: str) -> npt.NDArray[np.float32]:
    """Rows (N, columns) of a file of float32."""
    if len(raw) % (4 * columns):
        raise ScanError(f"{path}: {len(raw)} bytes are not rows of {columns} float32 ({names}); the file is cut off, or of another format")
    return np.frombuffer(raw, "<f4").reshape(-1, columns)


READERS: dict[str, Callable[[Path, bytes], Scan]] = {".pcd.bin": read_nuscenes, ".bin": read_kitti, ".pcd": read_pcd, ".npz": read_compact}
"""From a file's path and bytes to its scan, by how its name ends, longest first."""


def ending(path: Path) -> str | None:
    """The key of `READERS` that fits, or None."""
    return next((end for end in READERS if path.name.lower().endswith(end)), None)


def read_bytes(path: Path) -> bytes:
    """The bytes of a scan's file.

    Raises:
        ScanError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ScanError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_scan(path: Path, raw: bytes | None = None) -> Scan:
    """The scan in a file; ``raw``: its bytes, where they are known.

    Raises:
        ScanError: an unknown ending, or see the readers.
    """
    end = ending(path)
    if end is None:
        raise ScanError(f"{path}: not a lidar scan; expected a name that ends in {', '.join(READERS)}")
    return READERS[end](path, read_bytes(path) if raw is None else raw)


def find_scans(path: Path) -> list[Path]:
    """The scan files below a folder, sorted, or the file itself.

    Raises:
        StegoError: no such path, or no scans in it.
    """
    if path.is_file():
        if ending(path) is None:
            raise ScanError(f"{path}: not a lidar scan; expected a name that ends in {', '.join(READERS)}")
        return [path]
    if not path.is_dir():
        raise StegoError(f"{path}: no such folder or scan")
    found = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith(".") and ending(file))
    if not found:
        raise StegoError(f"{path}: no lidar scans in this folder; looked for {', '.join(READERS)}")
    return found
