"""What was computed of scans, one file each: an interrupted run goes on, and the next one on the same scans starts at once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models.errors import StegoError
from models.lidar.backbone import LidarBackbone
from stego_app.atomic import remove_stale_parts, write_bytes
from stego_app.lidar.readers import ending


class ScanStore:
    """Features and seen cells of scans by the bytes of their files and by the backbone.

    Args:
        folder: the cache; the store is ``folder/scans/<backbone>``.
        backbone: whose features these are.
        grid: rows and columns of range images, which the entries depend on.
    """

    def __init__(self, folder: Path, backbone: LidarBackbone, grid: tuple[int, int]) -> None:
        self.folder = folder / "scans" / f"{backbone.fingerprint}-{grid[0]}x{grid[1]}"
        remove_stale_parts(self.folder)

    def path(self, scan: Path) -> Path:
        """Where the entry of ``scan`` lies.

        Raises:
            StegoError: its file cannot be read.
        """
        try:
            digest = hashlib.sha256(scan.read_bytes())
        except OSError as error:
            raise StegoError(f"{scan}: cannot be read ({error.strerror or error})") from error
        digest.update((ending(scan) or "").encode())  # which decides how the bytes are read
        return self.folder / f"{digest.hexdigest()[:32]}.safetensors"

    def read(self, path: Path) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int64]] | None:
        """Features (cells, C) and the numbers of the cells seen, or None where there is no whole entry."""
        try:
            arrays = load(path.read_bytes())
            return arrays["features"], arrays["seen"]
        except (OSError, SafetensorError, KeyError):
            return None

    def write(self, path: Path, features: npt.NDArray[np.float16], seen: npt.NDArray[np.int64]) -> None:
        """Keep an entry.

        Raises:
            StegoError: it cannot be written.
        """
        write_bytes(path, save({"features": features, "seen": seen}))
