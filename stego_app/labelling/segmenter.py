"""What batch labelling asks of a segmenter: see `stego_app.segmenter.Segmenter`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stego_app.confidence.maps import Trust


class LabellingSegmenter(Protocol):
    """See the module."""

    @property
    def fingerprint(self) -> str: ...
    @property
    def has_confidence(self) -> bool: ...
    def class_names(self, classes: int | None = ...) -> list[str]: ...
    def palette(self, classes: int | None = ...) -> npt.NDArray[np.uint8]: ...
    def class_probabilities(
        self, images: Sequence[npt.NDArray[np.uint8]], *, classes: int | None = ..., flip: bool = ..., resolution: int | None = ..., window: int | None = ...
    ) -> list[npt.NDArray[np.float32]]: ...
    def class_probabilities_and_trust(
        self, images: Sequence[npt.NDArray[np.uint8]], *, classes: int | None = ..., flip: bool = ..., resolution: int | None = ..., window: int | None = ...
    ) -> list[tuple[npt.NDArray[np.float32], Trust]]: ...
