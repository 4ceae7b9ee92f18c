"""What browser tabs have under way; the longest unused is let go, so that memory stays bounded."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from models.errors import StegoError


class Weighed(Protocol):
    """Something that holds as much memory as so many ``pixels``."""

    @property
    def pixels(self) -> int: ...


T = TypeVar("T", bound=Weighed)


@dataclass
class _Turn:
    """Whose turn it is in a tab, and how many have it or wait for it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    wanted: int = 0


class Held(Generic[T]):
    """One thing for each browser tab.

    Args:
        max_pixels: pixels of all things held at once; the latest is always held.
    """

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._held: OrderedDict[str, T] = OrderedDict()
        self._turns: dict[str, _Turn] = {}
        self._lock = threading.Lock()

    @contextmanager
    def changing(self, tab: str) -> Iterator[None]:
        """One caller at a time for each tab, from reading what the tab has to putting what follows from it.

        Events of one tab are handled at the same time; whoever began with the older state would undo what the other did.
        To be entered once by a caller: it does not nest. Reading alone needs no turn.
        """
        with self._lock:
            turn = self._turns.setdefault(tab, _Turn())
            turn.wanted += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._lock:  # no lock outlives its last caller, however many tabs come and go
                turn.wanted -= 1
                if not turn.wanted:
                    del self._turns[tab]

    def get(self, tab: str) -> T | None:
        """What ``tab`` has, if it is still held."""
        with self._lock:
            if tab in self._held:
                self._held.move_to_end(tab)
            return self._held.get(tab)

    def need(self, tab: str) -> T:
        """What ``tab`` has.

        Raises:
            StegoError: nothing (any more).
        """
        thing = self.get(tab)
        if thing is None:
            raise StegoError("there is no image here (any more): drop it once again")
        return thing

    def put(self, tab: str, thing: T) -> T:
        """Hold ``thing`` for ``tab``, and give it back."""
        with self._lock:
            self._held[tab] = thing
            self._held.move_to_end(tab)
            total = sum(held.pixels for held in self._held.values())
            while total > self._max_pixels and len(self._held) > 1:
                _, gone = self._held.popitem(last=False)
                total -= gone.pixels
        return thing

    def drop(self, tab: str) -> None:
        """Let go of what ``tab`` has."""
        with self._lock:
            self._held.pop(tab, None)
