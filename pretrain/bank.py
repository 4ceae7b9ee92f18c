"""Items by index, read when they are first asked for and kept in memory up to a budget."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

from models.errors import StegoError

Item = TypeVar("Item")


class Bank(ABC, Generic[Item]):
    """Items of files, kept in memory up to ``budget`` bytes.

    Whether a file can be used depends on the file alone, so leaving out a broken one keeps batches reproducible.

    Attributes:
        skipped: what could not be used so far, and why.
    """

    def __init__(self, paths: Sequence[Path], budget: float) -> None:
        self.paths = list(paths)
        self.budget = budget
        self.skipped: dict[Path, str] = {}
        self._kept: dict[int, Item] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.paths)

    @abstractmethod
    def load(self, index: int) -> Item:
        """Item ``index``, read and made ready.

        Raises:
            StegoError: it cannot be used.
        """

    @abstractmethod
    def size_of(self, item: Item) -> int:
        """Bytes that keeping ``item`` takes."""

    def get(self, index: int) -> Item | None:
        """Item ``index``, or None if it cannot be used; the reason is then in ``skipped``."""
        path = self.paths[index]
        if path in self.skipped:
            return None
        if index in self._kept:
            return self._kept[index]
        try:
            item = self.load(index)
        except StegoError as error:
            with self._lock:
                self.skipped[path] = str(error)
            return None
        size = self.size_of(item)
        with self._lock:
            if self._bytes + size <= self.budget and index not in self._kept:
                self._kept[index] = item
                self._bytes += size
        return item
