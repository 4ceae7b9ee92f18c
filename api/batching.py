"""Dynamic batching: images of concurrent requests go through the backbone together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from models.errors import StegoError

Image = npt.NDArray[np.uint8]


@runtime_checkable
class EncodesMany(Protocol):
    """A segmenter that encodes several images at once; others are asked for one at a time."""

    def encode_many(self, images: Sequence[Image], *, flip: bool = ...) -> Sequence[Any]: ...


@dataclass
class _Waiting:
    segmenter: EncodesMany
    image: Image
    flip: bool
    encoded: Future[Any] = field(default_factory=Future)

    def succeed(self, encoded: Any) -> None:
        with suppress(InvalidStateError):  # given up in the meantime
            self.encoded.set_result(encoded)

    def fail(self, error: BaseException) -> None:
        with suppress(InvalidStateError):
            self.encoded.set_exception(error)

    def goes_with(self, other: _Waiting) -> bool:
        return self.segmenter is other.segmenter and self.flip == other.flip


def _closing() -> StegoError:
    return StegoError("the service is shutting down")


class Batcher:
    """One thread that feeds the backbone: what waits for the same segmenter goes in one batch.

    While a batch is computed, the next one gathers by itself; ``window`` only adds a little time for requests that set
    out together. A batch that fails is done again one image at a time, so that nobody fails for a neighbour's image.

    Args:
        most: images in a batch; 1 switches batching off.
        window: seconds to wait for company after the first image.
        observe: told the size of each batch.
    """

    def __init__(self, *, most: int, window: float, observe: Callable[[int], None] = lambda _: None) -> None:
        self._most = most
        self._window = window
        self._observe = observe
        self._arrived = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._under_way: list[_Waiting] = []
        self._closed = False
        self._thread: threading.Thread | None = None

    def encode(self, segmenter: EncodesMany, image: Image, *, flip: bool) -> Any:
        """``segmenter.encode_many([image], flip=flip)[0]``, computed together with what others ask for meanwhile. Blocks.

        Raises:
            StegoError: what the segmenter raises, or the service is shutting down.
        """
        item = _Waiting(segmenter, image, flip)
        with self._arrived:
            if self._closed:
                raise _closing()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="backbone", daemon=True)
                self._thread.start()
            self._waiting.append(item)
            self._arrived.notify_all()
        return item.encoded.result()

    def close(self) -> None:
        """Take no more. Whoever still waits is told so at once, also for what is being computed: nobody is left to answer to."""
        with self._arrived:
            self._closed = True
            left = [*self._waiting, *self._under_way]
            self._waiting = []
            self._arrived.notify_all()
        for item in left:
            item.fail(_closing())

    def _work(self) -> None:
        while batch := self._next_batch():
            self._observe(len(batch))
            _encode_together(batch)
            # Not to be held until the next image comes: images and tokens are large.
            self._under_way = batch = []

    def _next_batch(self) -> list[_Waiting]:
        """The next images that go together, the one that waits longest among them; empty at the end."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return []
            first = self._waiting[0]
            deadline = time.monotonic() + self._window
            while not self._closed and self._count(first) < self._most and (left := deadline - time.monotonic()) > 0:
                self._arrived.wait(left)
            batch = [item for item in self._waiting if item.goes_with(first)][: self._most]
            chosen = {id(item) for item in batch}
            self._waiting = [item for item in self._waiting if id(item) not in chosen]
            self._under_way = batch
            return batch

    def _count(self, first: _Waiting) -> int:
        return sum(item.goes_with(first) for item in self._waiting)


def _encode_together(batch: Sequence[_Waiting]) -> None:
    first = batch[0]
    try:
        results = first.segmenter.encode_many([item.image for item in batch], flip=first.flip)
        for item, result in zip(batch, results, strict=True):
            item.succeed(result)
    except BaseException as error:
        if len(batch) == 1:
            first.fail(error)
            return
        for item in batch:
            if not item.encoded.done():
                _encode_together([item])
