"""Rasters through rasterio, an extra: opened with a small cache, and one clear line where it is not installed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.errors import StegoError
from stego_app.formats.image_file import ImageFile

CACHE_BYTES = 64_000_000
"""Of decoded blocks, for all rasters together: what is read is read in order, so more would not be used again."""


def require_rasterio() -> Any:
    """The module.

    Raises:
        StegoError: it is not installed.
    """
    try:
        import rasterio
    except ImportError as error:
        raise StegoError("rasters with a place on earth need rasterio, which is not installed; expected: pip install 'stego-app[geo]'") from error
    return rasterio


@contextmanager
def quiet_rasterio() -> Iterator[Any]:
    """The module, with its cache bounded and without the warning that plain images have no place on earth."""
    rasterio = require_rasterio()
    from rasterio.errors import NotGeoreferencedWarning

    # Sidecar files are for the user to write, not for us.
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_PAM_ENABLED="NO"), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield rasterio


def raster_path(path: Path) -> Path:
    """``path``.

    Raises:
        StegoError: rasterio cannot take it.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise StegoError(f"{path}: rasterio takes names in UTF-8 only; rename the file or folder") from None
    return path


@contextmanager
def open_raster(source: ImageFile | Path) -> Iterator[Any]:
    """An open raster.

    Raises:
        StegoError: rasterio is not installed, or cannot read it.
    """
    image = ImageFile(source) if isinstance(source, Path) else source
    with quiet_rasterio() as rasterio:
        from rasterio.errors import RasterioError
        from rasterio.io import MemoryFile

        try:
            if image.member:
                with MemoryFile(image.read_bytes()) as memory, memory.open() as raster:
                    yield raster
            else:
                with rasterio.open(raster_path(image.path)) as raster:
                    yield raster
        except (RasterioError, OSError) as error:
            raise StegoError(f"{image}: not readable as a raster ({' '.join(str(error).split())})") from error
