"""Images in: files and bytes of any usual kind to RGB arrays, and one clear line for what cannot be read."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator, Set
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from models.errors import StegoError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"}
)
"""File name endings (lower case) that make a file an image when a folder is searched."""

MAX_PIXELS = 200_000_000
"""The most pixels an image may declare before it is decoded."""

_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "PPM", "JPEG2000", "AVIF")
_ORIENTATION_TAG = 0x0112
_OPENING = threading.Lock()


class ImageError(StegoError):
    """An image that cannot be read. The message is ``name: reason``."""


class TooManyPixelsError(ImageError):
    """An image whose header declares more pixels than are allowed."""


def read_image(source: str | Path | bytes | BinaryIO, *, name: str | None = None, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Read one image as (H, W, 3) uint8 RGB, turned upright as its EXIF orientation says.

    Palette, grey, 1-bit, CMYK and YCbCr images are converted; transparency is laid on white; of an animation or a file
    of several pages the first is taken. 16-bit samples are scaled by the full range of their type (the high byte is
    kept), 32-bit whole numbers likewise if they fit in 16 bits; floating point is taken as 0 to 1 if no value is above 1, else as 0 to 255.

    Args:
        source: the path of a file, its bytes, or an open binary stream.
        name: what messages call the image; the path, or "image" for bytes.
        max_pixels: the most pixels the header may declare; checked before anything is decoded.

    Raises:
        ImageError: missing, a folder, empty, truncated, damaged, not an image, too large, or with values outside the ranges above.
    """
    shown = name or (str(source) if isinstance(source, str | Path) else str(getattr(source, "name", "image")))
    with _stream(source, shown) as stream, _opened(stream, shown, max_pixels) as image:
        try:
            image.load()
            return np.ascontiguousarray(turn_upright(_to_rgb(image, shown), _orientation(image, max_pixels)))
        except ImageError:
            raise
        except MemoryError as error:
            raise ImageError(f"{shown}: {image.width} × {image.height} pixels do not fit in memory") from error
        except Exception as error:  # decoders meet damaged data with exceptions of every kind
            raise ImageError(f"{shown}: the image data are truncated or damaged ({_one_line(error)})") from error


def read_index_image(source: str | Path | bytes | BinaryIO, *, name: str | None = None, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.int64]:
    """Read a picture whose values are class indices, such as a label PNG: (H, W) int64, palette indices or grey values as stored.

    Raises:
        ImageError: as `read_image`, or a picture with more than one channel.
    """
    shown = name or (str(source) if isinstance(source, str | Path) else str(getattr(source, "name", "image")))
    with _stream(source, shown) as stream, _opened(stream, shown, max_pixels) as image:
        if image.mode not in {"P", "L", "1", "I"} and not image.mode.startswith("I;16"):
            raise ImageError(f"{shown}: {image.mode} picture; expected one channel that holds class indices")
        try:
            return np.asarray(image).astype(np.int64)
        except Exception as error:  # as above
            raise ImageError(f"{shown}: the image data are truncated or damaged ({_one_line(error)})") from error


def image_size(source: Path | bytes, name: str, max_pixels: int) -> tuple[int, int]:
    """Width and height that the header of an image file declares, before its EXIF orientation is applied; no pixel is decoded.

    Args:
        source: the path of the file, or its bytes.
        name: what messages call the image.
        max_pixels: the most pixels the header may declare.

    Raises:
        TooManyPixelsError: it declares more.
        ImageError: empty, not an image, or a damaged header.
    """
    with _stream(source, name) as stream, _opened(stream, name, max_pixels) as image:
        return image.size


def find_images(root: Path) -> list[Path]:
    """All images under ``root``; see `find_files`.

    Raises:
        StegoError: no such folder, not a folder, not readable, or no image in it.
    """
    return find_files(root, IMAGE_SUFFIXES, "images")


def find_files(root: Path, suffixes: Set[str], what: str, *, may_be_empty: bool = False) -> list[Path]:
    """All files under ``root`` whose names end in one of ``suffixes``, in sub-folders too, sorted by path; hidden files and folders are left out.

    Args:
        root: the folder.
        suffixes: in lower case, with the dot.
        what: messages call them.
        may_be_empty: whether it is fine if there are none.

    Raises:
        StegoError: no such folder, not a folder, not readable, or no such file in it.
    """
    if not root.exists():
        raise StegoError(f"{root}: no such folder")
    if not root.is_dir():
        raise StegoError(f"{root}: is a file; expected a folder of {what}")
    found: list[Path] = []
    visited: set[str] = set()
    for folder, subfolders, files in os.walk(root, onerror=_raise_unreadable, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # a link that leads back up would never end
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        names = (name for name in files if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes)
        found += [path for name in names if (path := Path(folder, name)).is_file()]
    if not found and not may_be_empty:
        raise StegoError(f"{root}: no {what} found; looked for {' '.join(sorted(suffixes))}")
    return sorted(found, key=lambda path: path.relative_to(root).parts)


def turn_upright(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Pixels (H, W, 3) as they are meant to be seen, given the EXIF orientation 1 to 8; anything else counts as 1."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


@contextmanager
def _stream(source: str | Path | bytes | BinaryIO, shown: str) -> Iterator[BinaryIO]:
    """An open, seekable, non-empty stream of ``source``."""
    if isinstance(source, str | Path):
        path = Path(source)
        if path.is_dir():
            raise ImageError(f"{shown}: is a folder; expected an image file")
        try:
            file = path.open("rb")
        except FileNotFoundError as error:
            raise ImageError(f"{shown}: no such file") from error
        except OSError as error:
            raise ImageError(f"{shown}: cannot be opened ({error.strerror or error})") from error
        with file:
            if os.fstat(file.fileno()).st_size == 0:
                raise ImageError(f"{shown}: the file is empty (0 bytes)")
            yield file
        return
    data = source if isinstance(source, bytes) else source.read()
    if not data:
        raise ImageError(f"{shown}: the file is empty (0 bytes)")
    yield BytesIO(data)


@contextmanager
def _opened(stream: BinaryIO, shown: str, max_pixels: int) -> Iterator[Image.Image]:
    """The image with only its header read and its size checked."""
    with _quiet_pillow(max_pixels):
        try:
            image = Image.open(stream, formats=_formats())
            if image.format == "TIFF":
                image.getexif().get(_ORIENTATION_TAG)  # loading asks for it too, and would warn of an odd tag there
        except Image.DecompressionBombError as error:
            raise TooManyPixelsError(f"{shown}: declares more than {max_pixels:,} pixels; refused before decoding") from error
        except UnidentifiedImageError as error:
            raise ImageError(f"{shown}: not an image, or its header is damaged or of an unsupported kind") from error
        except Exception as error:  # as above: a damaged header can make a plugin raise anything
            raise ImageError(f"{shown}: the header of the image is damaged ({_one_line(error)})") from error
        width, height = image.size
        if width * height > max_pixels:
            image.close()
            raise TooManyPixelsError(f"{shown}: declares {width} × {height} pixels, more than {max_pixels:,}; refused before decoding")
    with image:
        yield image


@contextmanager
def _quiet_pillow(max_pixels: int) -> Iterator[None]:
    """Pillow without warnings and with ``max_pixels`` as its limit. Both are global, so one thread at a time, and only for headers."""
    with _OPENING, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\b")
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    """The formats to try, of those this Pillow was built with. A closed list: some of Pillow's others start outside programs."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _orientation(image: Image.Image, max_pixels: int) -> int:
    """The EXIF orientation of a loaded image that has yet to be applied. (For a PNG, asking earlier would decode the pixels here.)"""
    if image.format == "TIFF":  # its plugin has turned the image already
        return 1
    with _quiet_pillow(max_pixels):
        try:
            value = image.getexif().get(_ORIENTATION_TAG, 1)
        except Exception:  # the photo is good even where a camera or an editor has left its EXIF block damaged
            return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image, shown: str) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 of a loaded image of any mode."""
    if image.mode.startswith("I;16"):
        return _grey(np.asarray(image).astype(np.uint16) >> 8)
    if image.mode == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError(f"{shown}: 32-bit values from {values.min()} to {values.max()}; expected 0 to 65535")
        return _grey(values >> 8)
    if image.mode == "F":
        return _grey(_float_to_bytes(np.asarray(image), shown))
    if image.has_transparency_data:
        upper = image.convert("RGBA")
        return np.asarray(Image.alpha_composite(Image.new("RGBA", upper.size, "white"), upper))[..., :3]
    return np.asarray(image.convert("RGB"))


def _float_to_bytes(values: npt.NDArray[np.float32], shown: str) -> npt.NDArray[np.float32]:
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(values).all() or low < 0 or high > 255:
        raise ImageError(f"{shown}: floating-point values from {low:g} to {high:g}; expected 0 to 1, or 0 to 255")
    return np.rint(values * 255 if high <= 1 else values)


def _grey(values: npt.NDArray[np.integer | np.floating]) -> npt.NDArray[np.uint8]:
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _raise_unreadable(error: OSError) -> None:
    raise StegoError(f"{error.filename}: the folder cannot be read ({error.strerror})") from error
