"""Reading images to label, and grouping them into batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.images import ImageError, TooManyPixelsError, read_image
from stego_app.labelling.names import Plan
from stego_app.labelling.raster import needs_raster, read_whole

AHEAD = 3
"""Images read before they are needed."""

BATCH_PIXELS = 12_000_000
"""A batch is closed early when its images have this many pixels, which bounds memory for large photos."""


@dataclass(frozen=True)
class Loaded:
    """An image that was read, or why it could not be. ``valid`` (H, W): where it holds data; None for everywhere."""

    plan: Plan
    sha256: str
    image: npt.NDArray[np.uint8] | None
    reason: str
    valid: npt.NDArray[np.bool_] | None = None


def load(plan: Plan) -> Loaded:
    """Read and decode one image; never raises for a bad file."""
    try:
        data = plan.image.read_bytes()
    except OSError as error:
        return Loaded(plan, "", None, f"cannot be read ({error.strerror or error})")
    digest = hashlib.sha256(data).hexdigest()
    try:
        if needs_raster(plan.image, data):
            return Loaded(plan, digest, *_raster(plan))
        return Loaded(plan, digest, read_image(data, name=plan.name), "")
    except ImageError as error:
        # A TIFF of bands that Pillow does not know may still be one for the raster reader, where there is one.
        if data[:2] in (b"II", b"MM") and not isinstance(error, TooManyPixelsError):
            return _second_try(plan, digest, str(error))
        return Loaded(plan, digest, None, str(error))
    except StegoError as error:
        return Loaded(plan, digest, None, str(error))


def _second_try(plan: Plan, digest: str, reason: str) -> Loaded:
    try:
        return Loaded(plan, digest, *_raster(plan))
    except StegoError as error:
        return Loaded(plan, digest, None, f"{reason}; {error}")


def _raster(plan: Plan) -> tuple[npt.NDArray[np.uint8], str, npt.NDArray[np.bool_]]:
    image, valid = read_whole(plan.image)
    return image, "", valid


def batches(loaded: Iterable[Loaded], size: int) -> Iterator[list[Loaded]]:
    """Groups of at most ``size`` images and `BATCH_PIXELS`; images that could not be read are in them too."""
    batch: list[Loaded] = []
    pixels = 0
    for item in loaded:
        batch.append(item)
        pixels += 0 if item.image is None else item.image.shape[0] * item.image.shape[1]
        if len(batch) >= size or pixels >= BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch
