"""Put on the path of a service that a test starts and kills often: its segmenter needs no network, so that processes start in a moment.

Python imports a module of this name by itself when it starts. Everything but the segmenter is the service's own.
"""

from __future__ import annotations

import sys
import time
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

NAMES = ["dark", "green", "blue"]
PALETTE = np.array([[40, 40, 40], [60, 180, 60], [60, 60, 220]], np.uint8)
SECONDS = 0.05
"""That an image takes, so that there is something to interrupt."""


def probabilities(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(4, h, w): one class a colour channel, brightest wins; the last, for ignored, is never taken. One cell is 8 pixels."""
    cells = image[::8, ::8].astype(np.float32).transpose(2, 0, 1) / 255
    return np.concatenate([cells / (cells.sum(0) + 1e-6), np.zeros_like(cells[:1])]).astype(np.float32)


class Segmenter:
    """As much of `stego_app.segmenter.Segmenter` as listing models and labelling ask for."""

    default_classes = 3
    max_classes = 3
    has_confidence = False
    fingerprint = "0123456789abcdef"
    crf_engine = "auto"
    edits: tuple[Any, ...] = ()

    @classmethod
    def load(cls, *_: Any, **__: Any) -> Segmenter:
        return cls()

    def info(self) -> dict[str, Any]:
        return {"name": "light"}

    def class_names(self, _: int | None = None) -> list[str]:
        return NAMES

    def palette(self, _: int | None = None) -> npt.NDArray[np.uint8]:
        return PALETTE

    def class_probabilities(self, images: Sequence[npt.NDArray[np.uint8]], **_: Any) -> list[npt.NDArray[np.float32]]:
        time.sleep(SECONDS * len(images))
        return [probabilities(image) for image in images]


def install() -> None:
    """Take the place of the module with the real one."""
    module = types.ModuleType("stego_app.segmenter")
    module.Segmenter = Segmenter  # type: ignore[attr-defined]
    sys.modules["stego_app.segmenter"] = module


if __name__ == "sitecustomize":
    install()
