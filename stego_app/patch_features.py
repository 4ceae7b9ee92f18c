"""The patch features of an encoded image as plain arrays, for views that compare patches: correspondences, PCA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models.errors import StegoError

SPACES = ("backbone", "codes")
"""Where patches can be compared: the frozen backbone's tokens, or the codes that a segmenter decides by."""


@dataclass(frozen=True)
class PatchFeatures:
    """Unit rows ``values`` (h*w, C) float32 in reading order, and the ``grid`` (h, w) of patches they come from."""

    values: npt.NDArray[np.float32]
    grid: tuple[int, int]


class EncodedImage(Protocol):
    """An image's patch ``tokens`` (h*w, C), as array or tensor, on a ``grid`` (h, w); see `stego_app.encoder.Encoded`."""

    @property
    def tokens(self) -> Any: ...
    @property
    def grid(self) -> tuple[int, int]: ...


class CodingSegmenter(Protocol):
    """A segmenter that gives the codes (h*w, E) of an encoded image."""

    def codes(self, encoded: Any) -> Any: ...


def patch_features(segmenter: CodingSegmenter, encoded: EncodedImage, space: str) -> PatchFeatures:
    """The features of each patch of ``encoded``, scaled to unit length so that a dot product is the cosine.

    Args:
        segmenter: the one that encoded the image.
        encoded: the encoded image.
        space: one of `SPACES`.

    Raises:
        StegoError: ``space`` is none of them.
    """
    if space not in SPACES:
        raise StegoError(f"features '{space}': expected {' or '.join(SPACES)}")
    values = np.asarray(encoded.tokens if space == "backbone" else segmenter.codes(encoded), dtype=np.float32)
    return PatchFeatures(unit_rows(values), encoded.grid)


def unit_rows(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(n, C) with each row scaled to length 1; a row of zeros stays as it is."""
    length = np.linalg.norm(values, axis=1, keepdims=True)
    result: npt.NDArray[np.float32] = (values / np.maximum(length, np.finfo(np.float32).tiny)).astype(np.float32)
    return result
