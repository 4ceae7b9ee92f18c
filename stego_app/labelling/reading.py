"""Reading images to label, and grouping them into batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.images import read_image
from stego_app.labelling.names import Plan

AHEAD = 3
"""Images read before they are needed."""

BATCH_PIXELS = 12_000_000
"""A batch is closed early when its images have this many pixels, which bounds memory for large photos."""


@dataclass(frozen=True)
class Loaded:
    """An image that was read, or why it could not be."""

    plan: Plan
    sha256: str
    image: npt.NDArray[np.uint8] | None
    reason: str


def load(plan: Plan) -> Loaded:
    """Read and decode one image; never raises for a bad file."""
    try:
        data = plan.path.read_bytes()
    except OSError as error:
        return Loaded(plan, "", None, f"cannot be read ({error.strerror or error})")
    digest = hashlib.sha256(data).hexdigest()
    try:
        return Loaded(plan, digest, read_image(data, name=plan.name), "")
    except StegoError as error:
        return Loaded(plan, digest, None, str(error))


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hex digits; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


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
