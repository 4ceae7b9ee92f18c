"""Work on many images in processes: the CRF is one thread's work, and a binding to C++ holds the interpreter's lock."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from models.errors import StegoError


class WorkerLostError(StegoError):
    """A worker process died at a task, and again when it had that task alone."""


@dataclass
class _Task:
    arguments: tuple[Any, ...]
    future: Future[Any]


class CrfPool:
    """Worker processes for the CRF. Results come in the order of the input.

    A worker that dies is replaced and what was under way is done again. Workers ignore Ctrl-C, which is the parent's to
    handle, and leave by themselves if the parent dies.

    >>> with CrfPool(workers=2) as pool:
    ...     for outcome in pool.run(finish_task, tasks):
    ...         ...
    """

    def __init__(self, workers: int | None = None) -> None:
        """``workers``: one a core if None."""
        if workers is not None and workers < 1:
            raise StegoError(f"{workers} worker processes: expected 1 or more")
        self.workers = workers or available_cores()
        self._executor: ProcessPoolExecutor | None = None
        self._starting = threading.Lock()
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close(now=kind is not None)

    def run(self, function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]], *, ahead: int | None = None) -> Iterator[Any]:
        """``function(*each)`` in the workers, in order; what it raises is yielded in place of a result.

        Arguments are drawn only as there is room, so their source may be work of its own that goes on meanwhile.

        Args:
            function: at the top level of a module, so that a worker can find it.
            arguments: picklable.
            ahead: how many tasks may be under way or waiting to be yielded; two a worker if None.
        """
        room = ahead or 2 * self.workers
        waiting: deque[_Task] = deque()
        source = iter(arguments)
        while True:
            while (waiting and waiting[0].future.done()) or len(waiting) >= room:
                yield self._result(function, waiting)
            try:
                item = next(source)
            except StopIteration:
                break
            waiting.append(_Task(item, self._submit(function, item)))
        while waiting:
            yield self._result(function, waiting)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """``function(*arguments)`` in a worker, for callers that are many threads; what it raises is raised here.

        Raises:
            WorkerLostError: the worker died at it, and again when it was tried once more.
            StegoError: the pool has ended.
        """
        for _ in range(2):
            executor = self._started()
            try:
                return _submitted(executor, function, arguments).result()
            except BrokenProcessPool:
                with self._starting:
                    if self._executor is executor:  # or another thread has noticed first
                        self._executor = None
                        executor.shutdown(wait=False)
            except (CancelledError, RuntimeError):
                if not self._ended:
                    raise
                raise _over() from None  # the pool ended while the task waited, or just before it was taken
        raise WorkerLostError("a worker process died twice at this image; is there enough memory?")

    def close(self, *, now: bool = False) -> None:
        """End the workers: after the tasks under way, or at once."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        # Python offers `terminate_workers` from 3.14 on only.
        workers = list((executor._processes or {}).values())
        executor.shutdown(wait=not now, cancel_futures=True)
        if now:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.join()

    def end(self) -> None:
        """`close` at once, for good: threads that wait in `call` are told, and start no new workers."""
        with self._starting:
            self._ended = True
        self.close(now=True)

    def worker_ids(self) -> list[int]:
        """Process ids of the workers started so far."""
        processes = self._executor._processes if self._executor else None
        return [worker.pid for worker in (processes or {}).values() if worker.pid is not None]

    def _started(self) -> ProcessPoolExecutor:
        with self._starting:
            if self._ended:
                raise _over()
            if self._executor is None:
                check_processes()
                context = multiprocessing.get_context("spawn")
                self._executor = ProcessPoolExecutor(self.workers, mp_context=context, initializer=_start_worker)
            return self._executor

    def _submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Future[Any]:
        return _submitted(self._started(), function, arguments)

    def _result(self, function: Callable[..., Any], waiting: deque[_Task]) -> Any:
        """The outcome of the first task, which leaves the queue."""
        first = waiting.popleft()
        try:
            return first.future.result()
        except BrokenProcessPool:
            return self._again(function, first, waiting)
        except Exception as error:
            return error

    def _again(self, function: Callable[..., Any], first: _Task, others: Iterable[_Task]) -> Any:
        """With new workers, ``first`` alone, to learn whether it was the one that killed its worker; then the others that were lost."""
        self.close(now=True)
        try:
            outcome = self._submit(function, first.arguments).result()
        except BrokenProcessPool:
            self.close(now=True)
            outcome = WorkerLostError("a worker process died twice at this image; is there enough memory? Fewer processes (--jobs) need less")
        except Exception as error:
            outcome = error
        for task in others:
            if _is_lost(task.future):
                task.future = self._submit(function, task.arguments)
        return outcome


def check_processes() -> None:
    """That worker processes can be started here.

    Raises:
        StegoError: the system gives no semaphores to share with them, as in a container without /dev/shm.
    """
    try:
        multiprocessing.get_context("spawn").Lock()
    except OSError as error:
        raise StegoError(f"worker processes cannot be started ({error.strerror or error}); expected a /dev/shm that can be written to") from error


def _over() -> StegoError:
    return StegoError("the worker processes have been stopped")


def _submitted(executor: ProcessPoolExecutor, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Future[Any]:
    """The future of the task; a lost one where the pool breaks before it has taken the task, which then counts like those under way."""
    try:
        return executor.submit(function, *arguments)
    except (BrokenProcessPool, OSError, ValueError) as error:
        # A pool that breaks while it starts one more worker closes the pipes that the start needs: "bad value(s) in fds_to_keep".
        lost: Future[Any] = Future()
        lost.set_exception(BrokenProcessPool(str(error)))
        return lost


def _is_lost(future: Future[Any]) -> bool:
    return not future.done() or future.cancelled() or isinstance(future.exception(), BrokenProcessPool)


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_worker() -> None:
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The pool is the parallelism: threads inside would only compete.
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: Any) -> None:
    # A worker waits for tasks on a pipe that it holds open itself, so it would outlive a parent that was killed.
    parent.join()
    os._exit(1)
