"""Rasters as images: any bands as red, green and blue in 8 bits, read window by window, and which pixels hold data."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.errors import StegoError
from stego_app.formats.image_file import ImageFile
from stego_app.formats.rasters import open_raster
from stego_app.images import MAX_PIXELS

LARGE_PIXELS = 64_000_000
"""A TIFF with more pixels than this is labelled in tiles unless they are forbidden: seen whole, it would have few patches and fill the memory."""

_NODATA_TAG = 42113
_TIFF_SUFFIXES = (".tif", ".tiff")
_SAMPLE = 1024
_PERCENTILES = (2.0, 98.0)

Pixels = npt.NDArray[np.uint8]
Valid = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Raster:
    """An open raster. ``bands``: the three that are seen; ``stretch`` (3, 2): the values that become 0 and 255, None where they are 8 bits already."""

    raster: Any
    bands: tuple[int, int, int]
    stretch: npt.NDArray[np.float64] | None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.raster.height, self.raster.width

    def read(self, top: int, height: int, *, shape: tuple[int, int] | None = None) -> tuple[Pixels, Valid]:
        """Whole rows: (height, W, 3) uint8 and where they hold data (height, W); reduced to ``shape`` if given."""
        window = ((top, top + height), (0, self.size[1]))
        layers = self.raster.read(list(self.bands), window=window, out_shape=None if shape is None else (3, *shape))
        valid = self.raster.dataset_mask(window=window, out_shape=shape) > 0
        if self.stretch is not None:
            low, high = self.stretch[:, 0, None, None], self.stretch[:, 1, None, None]
            scaled = (layers.astype(np.float32) - low) * (255 / (high - low))
            layers = np.clip(np.nan_to_num(scaled), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(layers.transpose(1, 2, 0)), valid


@contextmanager
def opened_raster(image: ImageFile) -> Iterator[Raster]:
    """An open raster.

    The bands that are marked as red, green and blue are taken, else the first three, or the one there is three times.
    Values that are not 8 bits are stretched between the percentiles 2 and 98 of a reduced view of each band.

    Raises:
        StegoError: rasterio is not installed or cannot read it, or its values are no real numbers.
    """
    with open_raster(image) as raster:
        bands = _bands(raster)
        kinds = {np.dtype(raster.dtypes[band - 1]) for band in bands}
        if any(kind.kind not in "uif" for kind in kinds):
            raise StegoError(f"{image}: a raster of {', '.join(sorted(map(str, kinds)))}; expected real numbers")
        yield Raster(raster, bands, None if kinds == {np.dtype(np.uint8)} else _stretch(raster, bands))


def is_tiled(image: ImageFile, tile: int | None) -> bool:
    """Whether an image is to be labelled in tiles: a TIFF larger than ``tile`` pixels on a side, or than `LARGE_PIXELS` where none is given."""
    if image.member or image.path.suffix.lower() not in _TIFF_SUFFIXES or tile == 0:
        return False
    size = _header_size(image.path)
    if size is None:
        return False
    return size[0] * size[1] > LARGE_PIXELS if tile is None else max(size) > tile


def needs_raster(image: ImageFile, data: bytes) -> bool:
    """Whether a TIFF says which pixels hold no data, which only the raster reader understands."""
    if data[:2] not in (b"II", b"MM"):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(image.path) if not image.member else _from_bytes(data) as picture:
                return _NODATA_TAG in getattr(picture, "tag_v2", {})
    except Exception:  # Pillow does not know it: what reads it next says so
        return False


def read_whole(image: ImageFile) -> tuple[Pixels, Valid]:
    """A raster that fits in memory: (H, W, 3) uint8 and where it holds data (H, W).

    Raises:
        StegoError: see `opened_raster`; or more pixels than an image may have.
    """
    with opened_raster(image) as raster:
        height, width = raster.size
        if height * width > MAX_PIXELS:
            raise StegoError(f"{image}: {width} × {height} pixels, more than {MAX_PIXELS:,}; expected a file of its own, which is labelled in tiles")
        return raster.read(0, height)


def _bands(raster: Any) -> tuple[int, int, int]:
    meaning = [interpretation.name for interpretation in raster.colorinterp]
    if {"red", "green", "blue"} <= set(meaning):
        return meaning.index("red") + 1, meaning.index("green") + 1, meaning.index("blue") + 1
    return (1, 2, 3) if raster.count >= 3 else (1, 1, 1)


def _stretch(raster: Any, bands: tuple[int, int, int]) -> npt.NDArray[np.float64]:
    """(3, 2): low and high of each band. From a reduced view, the same for every tile."""
    scale = min(1.0, _SAMPLE / max(raster.height, raster.width))
    shape = (max(1, round(raster.height * scale)), max(1, round(raster.width * scale)))
    valid = raster.dataset_mask(out_shape=shape) > 0
    rows = []
    for band in bands:
        values = raster.read(band, out_shape=shape).astype(np.float64)
        kept = values[valid & np.isfinite(values)]
        low, high = np.percentile(kept, _PERCENTILES) if kept.size else (0.0, 1.0)
        rows.append((low, high if high > low else low + 1))
    return np.array(rows)


def _header_size(path: Path) -> tuple[int, int] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=("TIFF",)) as picture:
                return picture.size
    except Image.DecompressionBombError:
        return (1 << 20, 1 << 20)  # larger than Pillow likes: certainly tiled
    except Exception:  # not a TIFF that Pillow knows: perhaps one that the raster reader does
        return _raster_size(path)


def _raster_size(path: Path) -> tuple[int, int] | None:
    try:
        with open_raster(path) as raster:
            return raster.width, raster.height
    except StegoError:  # told when it is read
        return None


def _from_bytes(data: bytes) -> Image.Image:
    import io

    return Image.open(io.BytesIO(data))
