"""Where images are segmented: a few threads with a bounded queue, so that the event loop always answers."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from models.errors import StegoError

T = TypeVar("T")
_FIRST_GUESS = 2.0  # seconds an image takes, until one has been measured
_SMOOTHING = 0.3


class BusyError(StegoError):
    """The queue is full, or the work waited for longer than the service's timeout."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooSlowError(StegoError):
    """The work began but did not end within the service's timeout."""


class ClientLeftError(Exception):
    """The client closed the connection; nobody waits for an answer."""


class InferenceWorker:
    """Runs functions in ``concurrency`` threads; at most ``queue`` more wait, and each for at most ``timeout`` seconds.

    A thread cannot be stopped, so work that has begun keeps its place until it ends, also when its client has left
    or its time is over: the number of threads at work never exceeds ``concurrency``. Work that still waits is dropped.
    """

    def __init__(self, *, concurrency: int, queue: int, timeout: float) -> None:
        self._executor = ThreadPoolExecutor(concurrency, thread_name_prefix="segment")
        self._concurrency = concurrency
        self._capacity = concurrency + queue
        self._timeout = timeout
        self._lock = threading.Lock()
        self._pending = 0
        self._seconds = _FIRST_GUESS
        self._closed = False
        self._given_up: float | None = None

    @property
    def pending(self) -> int:
        """Images waiting or being worked on."""
        return self._pending

    @property
    def accepting(self) -> bool:
        """Whether more work is taken: not closed."""
        return not self._closed

    async def run(self, work: Callable[[], T], *, client_left: Callable[[], Awaitable[bool]] | None = None) -> T:
        """The result of ``work``, called in a worker thread.

        Args:
            work: takes no arguments; its exceptions are passed on.
            client_left: asked a few times a second; once it says so, waiting work is dropped.

        Raises:
            BusyError: the queue is full, or the turn did not come in time.
            TooSlowError: the work did not end in time.
            ClientLeftError: the client left before the work was done.
        """
        future = self._submit(work)
        waiting = asyncio.wrap_future(future)
        deadline = time.monotonic() + self._timeout
        try:
            while True:
                left = deadline - time.monotonic()
                done, _ = await asyncio.wait({waiting}, timeout=max(0.0, min(0.25, left)))
                if waiting.cancelled():
                    raise self._closing()
                if done:
                    return waiting.result()
                if left <= 0:
                    raise self._overdue(future)
                if self._given_up is not None and time.monotonic() >= self._given_up:
                    raise self._closing()
                if client_left is not None and await client_left():
                    raise ClientLeftError
        finally:
            if not waiting.done():
                waiting.add_done_callback(_forget)
                future.cancel()

    def run_blocking(self, work: Callable[[], T]) -> T:
        """The same for callers that are threads themselves (the browser page).

        Raises:
            BusyError: the queue is full, or the turn did not come in time.
            TooSlowError: the work did not end in time.
        """
        future = self._submit(work)
        try:
            return future.result(self._timeout)
        except CancelledError:
            raise self._closing() from None
        except TimeoutError:
            if future.done():
                raise  # the work's own
            raise self._overdue(future) from None

    def close(self, grace: float | None = None) -> None:
        """Take no more work and drop what waits; work under way ends by itself.

        Args:
            grace: seconds from now after which `run` waits for it no longer and raises `BusyError`; as long as any work may take if None.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._given_up = None if grace is None else time.monotonic() + grace
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        with self._lock:
            if self._closed:
                raise self._closing()
            if self._pending >= self._capacity:
                raise BusyError(f"{self._pending} images are already waiting; try again later", self.retry_after())
            self._pending += 1
            # Within the lock, so that it cannot be closed in between.
            future = self._executor.submit(self._timed, work)
        future.add_done_callback(self._leave)
        return future

    def _timed(self, work: Callable[[], T]) -> T:
        begun = time.monotonic()
        try:
            return work()
        finally:
            self._seconds += _SMOOTHING * (time.monotonic() - begun - self._seconds)

    def _leave(self, _: Future[T]) -> None:
        with self._lock:
            self._pending -= 1

    def _overdue(self, future: Future[T]) -> StegoError:
        if future.cancel():
            return BusyError(f"the image waited for {self._timeout:g} s without its turn coming; try again later", self.retry_after())
        return TooSlowError(f"the image took longer than {self._timeout:g} s; send a smaller one, or switch the CRF off")

    def _closing(self) -> BusyError:
        return BusyError("the service is shutting down", self.retry_after())

    def retry_after(self) -> int:
        """Seconds until the work that is here now will probably be done, 1 to 60."""
        return max(1, min(60, math.ceil(self._seconds * self._pending / self._concurrency)))


def _forget(future: asyncio.Future[T]) -> None:
    """Read the outcome of work nobody waits for, so that asyncio does not report it as lost."""
    with suppress(CancelledError, asyncio.CancelledError):
        future.exception()
