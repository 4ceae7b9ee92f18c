"""A budget of pixels for the images being worked on, so that memory does not grow with the number of threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """At most ``total`` pixels at once: many small images side by side, or one that is as large as allowed.

    Turns come in the order of asking, so that a large image is not overtaken for ever by small ones.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._held = 0
        self._turn = threading.Lock()
        self._freed = threading.Condition()

    @property
    def held(self) -> int:
        """Pixels held now."""
        return self._held

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait for ``pixels`` of the budget and give them back at the end of the block. More than all of it counts as all of it."""
        share = min(pixels, self._total)
        with self._turn, self._freed:
            self._freed.wait_for(lambda: self._held + share <= self._total)
            self._held += share
        try:
            yield
        finally:
            with self._freed:
                self._held -= share
                self._freed.notify_all()
