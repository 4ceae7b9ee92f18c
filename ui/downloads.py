"""Files that browser tabs fetch: written when asked for, one for each tab at a time."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.errors import StegoError


class Downloads:
    """The latest download of each tab.

    Args:
        folder: where to write. On the page it is Gradio's own folder: files elsewhere would be copied there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._latest: dict[str, Path] = {}
        self._lock = threading.Lock()

    def write(self, tab: str, name: str, write: Callable[[Path], Any]) -> Path:
        """Have ``write`` make a file called ``name`` for ``tab``, in place of the tab's last one.

        Raises:
            StegoError: it cannot be written.
        """
        self.drop(tab)
        place = Path(tempfile.mkdtemp(dir=self._folder))  # its own, so that tabs with equal names never meet
        try:
            write(place / name)
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)
            raise StegoError(f"{name}: cannot be written on the server ({error.strerror or error})") from error
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        with self._lock:
            before, self._latest[tab] = self._latest.get(tab), place
        _remove(before)
        return place / name

    def drop(self, tab: str) -> None:
        """Remove the file of ``tab``, if there is one. A browser that is fetching it still gets all of it."""
        with self._lock:
            before = self._latest.pop(tab, None)
        _remove(before)


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)  # Gradio may have cleared it away for its age
