"""Work done ahead of its consumer in background threads, so that the network never waits for a file."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(items: Iterable[T], work: Callable[[T], R], *, ahead: int, workers: int = 2) -> Iterator[R]:
    """``work`` applied to ``items`` in threads, results in order, at most ``ahead`` of them waiting in memory."""
    remaining = iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="read-ahead") as pool:
        waiting: deque[Future[R]] = deque(pool.submit(work, item) for item in islice(remaining, ahead))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(work, item) for item in islice(remaining, 1))
                yield result
        finally:  # a consumer that stops early must not wait for files nobody wants
            for future in waiting:
                future.cancel()
