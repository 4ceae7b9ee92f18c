"""From an image to its segmentation: backbone in batches shared by concurrent requests, CRF in processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
import numpy.typing as npt

from api.batching import Batcher, EncodesMany
from api.pixels import PixelBudget
from stego_app.classes import ClassTable
from stego_app.confidence.maps import Trust
from stego_app.crf import CrfPool, CrfSettings
from stego_app.segmentation import Segmentation, reduced_image, segment
from ui.contract import SegmentationLike, SegmenterLike


@runtime_checkable
class TellsProbabilities(Protocol):
    """A segmenter whose maps on the patch grid can be had, so that the CRF may run elsewhere; others decode by themselves."""

    @property
    def has_confidence(self) -> bool: ...
    @property
    def crf_engine(self) -> str: ...
    def table(self, classes: int | None = ...) -> ClassTable: ...
    def probabilities(self, encoded: Any, *, classes: int | None = ...) -> npt.NDArray[np.float32]: ...
    def probabilities_and_trust(self, encoded: Any, *, classes: int | None = ...) -> tuple[npt.NDArray[np.float32], Trust]: ...


class Engine:
    """Segments images for many threads at once.

    Args:
        batcher: of the backbone.
        pool: processes for the CRF; None to run it in the calling thread.
        budget: pixels that all images being worked on may have together.
    """

    def __init__(self, batcher: Batcher, pool: CrfPool | None, budget: PixelBudget) -> None:
        self._batcher = batcher
        self._pool = pool
        self.budget = budget

    def segment(
        self, segmenter: SegmenterLike, image: npt.NDArray[np.uint8], *, classes: int | None = None, crf: bool = True, flip: bool = False
    ) -> SegmentationLike:
        """What ``segmenter(image, …)`` gives, computed beside what other threads ask for. Blocks.

        Raises:
            StegoError: see the segmenter.
        """
        if not isinstance(segmenter, EncodesMany):
            return segmenter(image, classes=classes, crf=crf, flip=flip)
        encoded = self._batcher.encode(segmenter, image, flip=flip)
        if self._pool is None or not crf or not _wants_processes(segmenter):
            return segmenter.decode(encoded, classes=classes, crf=crf)
        return _with_crf_elsewhere(segmenter, image, encoded, classes, self._pool)

    def warm_up(self, segmenters: Sequence[SegmenterLike]) -> None:
        """Start the processes, if any of ``segmenters`` will use them, so that no request waits for that."""
        if self._pool is not None and any(map(_wants_processes, segmenters)):
            self._pool.call(_ready)

    def close(self) -> None:
        """Give up what is under way and end thread and processes: called when nobody waits for an answer any more."""
        self._batcher.close()
        if self._pool is not None:
            self._pool.end()


def _wants_processes(segmenter: SegmenterLike) -> TypeGuard[TellsProbabilities]:
    """Whether its CRF is a processor's work; on a GPU, the calling thread does it there."""
    return isinstance(segmenter, TellsProbabilities) and segmenter.crf_engine == "auto"


def _with_crf_elsewhere(segmenter: TellsProbabilities, image: npt.NDArray[np.uint8], encoded: Any, classes: int | None, pool: CrfPool) -> Segmentation:
    table = segmenter.table(classes)
    trust: Trust | None = None
    if segmenter.has_confidence:
        probabilities, trust = segmenter.probabilities_and_trust(encoded, classes=classes)
    else:
        probabilities = segmenter.probabilities(encoded, classes=classes)
    labels, scores = pool.call(refined_labels, probabilities, (image.shape[0], image.shape[1]), reduced_image(image, CrfSettings()))
    return Segmentation(image, labels, scores, table.names, table.palette, trust)


def refined_labels(
    probabilities: npt.NDArray[np.float32], size: tuple[int, int], seen: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """`stego_app.segmentation.segment` with the CRF's own settings; at the top level of a module, so that a process finds it."""
    return segment(probabilities, size, seen=seen, settings=CrfSettings())


def _ready() -> bool:
    return True
