"""Class maps from words alone: every patch is compared with the words, and the dense CRF refines the edges as it does for clusters."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.confidence.agreement import MissingConfidenceError
from stego_app.naming.tower import TextTower, probabilities
from stego_app.naming.words import Word
from stego_app.palette import palette as distinct_colours
from stego_app.segmentation import MAX_CLASSES
from stego_app.segmenter import Segmenter


class PromptedSegmenter:
    """A segmenter whose classes are words; what none of them fits is ignored (255). It satisfies `stego_app.labelling.segmenter.LabellingSegmenter`.

    Args:
        segmenter: sees the images; its own classes play no part.
        words: the classes.
        tower: compares words with patches.

    Raises:
        StegoError: more words than a label map has classes.
    """

    has_confidence = False

    def __init__(self, segmenter: Segmenter, words: Sequence[Word], tower: TextTower) -> None:
        if len(words) > MAX_CLASSES:
            raise StegoError(f"{len(words)} words: expected at most {MAX_CLASSES}, as many as a label map has classes")
        self._segmenter = segmenter
        self._words = list(words)
        self._tower = tower
        self._vectors = tower.words(words)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change whenever the labels could."""
        parts = (self._segmenter.model.backbone.fingerprint, self._segmenter.model.settings.model_dump(), self._tower.fingerprint, self._words)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    @property
    def crf_engine(self) -> str:
        """That of the segmenter."""
        return self._segmenter.crf_engine

    def class_names(self, classes: int | None = None) -> list[str]:  # noqa: ARG002 (the words are the classes, at one granularity)
        """The words, in their order."""
        return [word.name for word in self._words]

    def palette(self, classes: int | None = None) -> npt.NDArray[np.uint8]:  # noqa: ARG002
        """Colours (n, 3)."""
        colours: npt.NDArray[np.uint8] = np.asarray(distinct_colours(len(self._words)), dtype=np.uint8)
        return colours

    def class_probabilities(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        *,
        classes: int | None = None,  # noqa: ARG002
        flip: bool = False,
        resolution: int | None = None,
        window: int | None = None,
    ) -> list[npt.NDArray[np.float32]]:
        """(n + 1, h, w) probabilities of the words on the patch grid, the last row for none of them."""
        maps: list[npt.NDArray[np.float32]] = []
        for encoded in self._segmenter.encode_many(images, flip=flip, resolution=resolution, window=window):
            scores = self._tower.scores(self._tower.image(encoded), self._vectors)
            maps.append(probabilities(scores, self._tower.calibration).T.reshape(-1, *encoded.grid).contiguous().numpy())
        return maps

    def class_probabilities_and_trust(self, images: Sequence[npt.NDArray[np.uint8]], **seeing: Any) -> NoReturn:  # noqa: ARG002
        """Words bring no table of agreement.

        Raises:
            MissingConfidenceError: always.
        """
        raise MissingConfidenceError
