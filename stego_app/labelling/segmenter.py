"""What batch labelling asks of a segmenter: see `stego_app.segmenter.Segmenter`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stego_app.confidence.maps import Trust
from stego_app.labelling.settings import LabelSettings

Maps = tuple[npt.NDArray[np.float32], Trust | None]
"""Class probabilities of an image on its patch grid, and how far they are to be trusted, where that was asked for."""


class LabellingSegmenter(Protocol):
    """See the module."""

    @property
    def fingerprint(self) -> str: ...
    @property
    def has_confidence(self) -> bool: ...
    @property
    def crf_engine(self) -> str: ...
    def class_names(self, classes: int | None = ...) -> list[str]: ...
    def palette(self, classes: int | None = ...) -> npt.NDArray[np.uint8]: ...
    def class_probabilities(
        self, images: Sequence[npt.NDArray[np.uint8]], *, classes: int | None = ..., flip: bool = ..., resolution: int | None = ..., window: int | None = ...
    ) -> list[npt.NDArray[np.float32]]: ...
    def class_probabilities_and_trust(
        self, images: Sequence[npt.NDArray[np.uint8]], *, classes: int | None = ..., flip: bool = ..., resolution: int | None = ..., window: int | None = ...
    ) -> list[tuple[npt.NDArray[np.float32], Trust]]: ...


def maps_of(segmenter: LabellingSegmenter, images: Sequence[npt.NDArray[np.uint8]], settings: LabelSettings) -> list[Maps]:
    """`Maps` of each image."""
    if settings.asks_confidence:
        return [*segmenter.class_probabilities_and_trust(images, **settings.seeing)]
    return [(probabilities, None) for probabilities in segmenter.class_probabilities(images, **settings.seeing)]
