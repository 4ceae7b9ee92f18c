"""A row of the table of speed, and how two ways of one task are timed beside each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """A task done in our way and in a reference way.

    Attributes:
        name: of the row.
        what: the task and the reference, in words.
        ours, reference: seconds.
        asked: the target of ``reference / ours``.
        quality: whether what comes out is as good, in words.
        clock: which seconds they are.
    """

    name: str
    what: str
    ours: float
    reference: float
    asked: float
    quality: str
    clock: str = "processor"

    @property
    def ratio(self) -> float:
        """How many times as fast as the reference."""
        return self.reference / self.ours


@dataclass
class Lap:
    """The shortest turn so far in seconds, by the wall and of this process; and what the task gave."""

    wall: float = float("inf")
    processor: float = float("inf")
    result: object = field(default=None, repr=False)


def race(ways: Mapping[str, Callable[[], object]], rounds: int, *, warm: bool = True) -> dict[str, Lap]:
    """Run all ``ways`` in turns, so that whatever else the machine does meets them alike; the best of ``rounds`` turns counts.

    Args:
        ways: tasks by name.
        rounds: turns each.
        warm: run each once before, unmeasured.
    """
    laps = {name: Lap() for name in ways}
    for turn in range(-1 if warm else 0, rounds):
        for name, task in ways.items():
            wall, processor = time.perf_counter(), time.process_time()
            result = task()
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            if turn >= 0:
                lap = laps[name]
                lap.wall, lap.processor, lap.result = min(lap.wall, wall), min(lap.processor, processor), result
    return laps
