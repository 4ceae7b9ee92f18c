"""Copies of an image as the web makes them: resized, re-encoded, cropped, mirrored. From them thresholds are learnt without labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

SAME_PICTURE = ("resized", "re-encoded")
"""Kinds whose copy shows the whole picture as it was: these must be found."""
_JPEG_SIDE = 65_500
"""What JPEG can hold on a side, by libjpeg."""

OTHER_VIEW = ("cropped", "flipped")
"""Kinds that show part of the picture, or its mirror image: found where they can be."""
KINDS = (*SAME_PICTURE, *OTHER_VIEW)


def make_copy(image: Pixels, kind: str, seed: int) -> Pixels:
    """A copy of ``image`` (H, W, 3) of one of `KINDS`, its strength drawn by ``seed``; every copy has been through JPEG.

    Resized: each side to 35 to 150 %. Re-encoded: JPEG quality 15 to 60. Cropped: 60 to 85 % of the area. Flipped: left and right exchanged.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in _MAKERS:
        raise ValueError(f"kind of copy '{kind}': expected one of {', '.join(KINDS)}")
    random = np.random.default_rng([seed, KINDS.index(kind)])
    return _MAKERS[kind](Image.fromarray(image), random)


def copy_seed(content: str, seed: int) -> int:
    """The seed of the copies of the file whose SHA-256 is ``content``: the same wherever the file lies."""
    return int(hashlib.sha256(f"{content}|{seed}".encode()).hexdigest()[:12], 16)


def _resized(image: Image.Image, random: np.random.Generator) -> Pixels:
    scale = random.uniform(0.35, 1.5)
    size = (max(8, round(image.width * scale)), max(8, round(image.height * scale)))
    return _jpeg(image.resize(size, Image.Resampling.BICUBIC), 90)


def _reencoded(image: Image.Image, random: np.random.Generator) -> Pixels:
    return _jpeg(image, int(random.integers(15, 61)))


def _cropped(image: Image.Image, random: np.random.Generator) -> Pixels:
    side = float(random.uniform(0.6, 0.85)) ** 0.5
    width, height = max(1, round(image.width * side)), max(1, round(image.height * side))
    left, top = int(random.integers(0, image.width - width + 1)), int(random.integers(0, image.height - height + 1))
    return _jpeg(image.crop((left, top, left + width, top + height)), 90)


def _flipped(image: Image.Image, _random: np.random.Generator) -> Pixels:
    return _jpeg(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 90)


def _jpeg(image: Image.Image, quality: int) -> Pixels:
    if max(image.size) > _JPEG_SIDE:
        scale = _JPEG_SIDE / max(image.size)
        image = image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))), Image.Resampling.BICUBIC)
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as decoded:
        return np.array(decoded.convert("RGB"))


_MAKERS: dict[str, Callable[[Image.Image, np.random.Generator], Pixels]] = {
    "resized": _resized,
    "re-encoded": _reencoded,
    "cropped": _cropped,
    "flipped": _flipped,
}
