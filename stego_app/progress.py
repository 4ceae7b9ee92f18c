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
        started: dict[str, float] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, rate="")
                started[stage] = time.monotonic()
            bars.update(tasks[stage], completed=done, total=total, rate=_rate(done, time.monotonic() - started[stage]))

        yield show


class _PlainLines:
    """At most one line a stage every few seconds, and one at its end: for logs and pipes."""

    def __init__(self, every: float = 5.0) -> None:
        self.every = every
        self.started: dict[str, float] = {}
        self.said: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        begun = self.started.setdefault(stage, now)
        if done < total and now - self.said.get(stage, begun) < self.every:
            return
        self.said[stage] = now
        seconds = now - begun
        left = f", about {seconds / done * (total - done):.0f} s left" if 0 < done < total else ""
        print(f"{stage}: {done}/{total} {_rate(done, seconds)}{left}", file=sys.stderr, flush=True)


def _rate(done: int, seconds: float) -> str:
    return f"{done / seconds:.1f}/s" if seconds > 0.05 and done else ""
