"""A photo made ready for comparing its patches: its picture, and its features in each space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from stego_app.images import read_image
from stego_app.patch_features import SPACES, PatchFeatures, patch_features
from ui.contract import SegmenterLike
from ui.sitting import Sitting
from ui.workshop import Workshop

SIDE = 768
"""Longest side of the pictures in pixels: small photos are enlarged, so that heat over them is smooth."""

SPACE_CHOICES = [("Backbone features", "backbone"), ("Segmenter's codes", "codes")]
"""What people read, and the name, of each of `SPACES`."""


@dataclass(frozen=True)
class Seen:
    """One photo.

    Attributes:
        name: of its file.
        picture: (h, w, 3) uint8, its longest side `SIDE`.
        features: by space, see `stego_app.patch_features`.
    """

    name: str
    picture: npt.NDArray[np.uint8]
    features: dict[str, PatchFeatures]

    @property
    def pixels(self) -> int:
        """Memory held, counted in pixels of three bytes."""
        numbers = sum(features.values.size for features in self.features.values())
        return int(self.picture.size + 4 * numbers) // 3


def look_at(shop: Workshop, path: Path, model: str) -> Seen:
    """Encode the image file at ``path`` with the segmenter ``model``.

    Raises:
        StegoError: not an image, too large, an unknown model, or no turn to be had.
    """
    image = read_image(path, name=path.name, max_pixels=shop.max_pixels)
    segmenter = shop.catalog.get(model)
    seen: Seen = shop.run(lambda: _seen(path.name, image, segmenter, segmenter.encode(image)))
    return seen


def seen_before(sitting: Sitting) -> Seen:
    """The photo of the tab "Segment", which is encoded already."""
    return _seen(sitting.path.name, sitting.picture, sitting.segmenter, sitting.encoded)


def _seen(name: str, image: npt.NDArray[np.uint8], segmenter: SegmenterLike, encoded: Any) -> Seen:
    picture = _fitted(image)
    return Seen(name, picture, {space: patch_features(segmenter, encoded, space) for space in SPACES})


def _fitted(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    scale = SIDE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BOX))
