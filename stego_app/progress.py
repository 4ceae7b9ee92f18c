"""Progress of long work in the terminal: stage, bar, rate, time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, int, int], None]
"""``progress(stage, done, total)``: called whenever something was finished."""


def silent(_stage: str, _done: int, _total: int) -> None:
    """A progress callback that shows nothing."""


def pace(speed: float) -> str:
    """``speed``, things a second, for people: what is slow is told by what one of them takes."""
    return f"{speed:.1f}/s" if speed >= 0.1 else f"{duration(1 / speed)} each"


def duration(seconds: float) -> str:
    """A span of time for people: in seconds below two minutes, in minutes below two hours, then in hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@contextmanager
def terminal_progress() -> Iterator[Progress]:
    """A callback that draws one bar a stage, with rate and time left; plain lines where the output is not a terminal."""
    if not sys.stderr.isatty():
        yield _PlainLines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}
        paces: dict[str, _Pace] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in paces or paces[stage].is_over(done):
                paces[stage] = _Pace(done)
                if stage in tasks:
                    bars.reset(tasks[stage])
                else:
                    tasks[stage] = bars.add_task(stage, total=total, rate="")
            bars.update(tasks[stage], completed=done, total=total, rate=paces[stage].rate(done))

        yield show


class _Pace:
    """How fast a stage goes, from its first call on: what was done before that (an earlier run's part) says nothing of it."""

    def __init__(self, done: int) -> None:
        self._first, self._last = done, done
        self.begun = time.monotonic()

    def is_over(self, done: int) -> bool:
        """Whether fewer are ``done`` than before: the stage has begun anew, with other work."""
        over, self._last = done < self._last, done
        return over

    def per_second(self, done: int) -> float:
        """Since the first call; 0 while that cannot be said."""
        seconds = time.monotonic() - self.begun
        return (done - self._first) / seconds if seconds > 0.05 else 0.0

    def rate(self, done: int) -> str:
        """For people; empty while there is none."""
        speed = self.per_second(done)
        return pace(speed) if speed else ""

    def left(self, done: int, total: int) -> str:
        """Time left, for people; empty at the end and while nothing is known."""
        speed = self.per_second(done)
        return f", about {duration((total - done) / speed)} left" if speed and done < total else ""


class _PlainLines:
    """At most one line a stage every few seconds, and one at its end: for logs and pipes."""

    def __init__(self, every: float = 5.0) -> None:
        self.every = every
        self.paces: dict[str, _Pace] = {}
        self.said: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self.paces or self.paces[stage].is_over(done):
            self.paces[stage] = _Pace(done)
            self.said.pop(stage, None)
        pace, now = self.paces[stage], time.monotonic()
        if done < total and now - self.said.get(stage, pace.begun) < self.every:
            return
        self.said[stage] = now
        print(f"{stage}: {done}/{total} {pace.rate(done)}{pace.left(done, total)}", file=sys.stderr, flush=True)
