"""An image's bytes, whether in a file of its own or in a zip."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from zipfile import ZipFile

from models.errors import StegoError
from stego_app.formats.safe_zip import DAMAGED, open_zip

_READING = threading.Lock()


@dataclass(frozen=True)
class ImageFile:
    """A file, or the ``member`` of a zip ``path``.

    ``private``: who gets the results has the image elsewhere, so that ``path`` is of no use there, and is nobody's business.
    """

    path: Path
    member: str = ""
    private: bool = False

    def read_bytes(self) -> bytes:
        """All bytes.

        Raises:
            OSError: it cannot be read, or the zip is damaged there.
        """
        if not self.member:
            return self.path.read_bytes()
        try:
            with _READING:  # one archive's members share a file position
                return _archive(str(self.path), self.path.stat().st_mtime_ns).read(self.member)
        except (StegoError, *DAMAGED) as error:  # the former where the zip was replaced since it was looked at
            raise OSError(f"damaged in {self.path.name}: {str(error) or type(error).__name__}") from error

    def digest(self) -> str:
        """SHA-256 of the bytes in hex digits; empty if they cannot be read."""
        try:
            if self.member:
                return hashlib.sha256(self.read_bytes()).hexdigest()
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return ""

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)


@lru_cache(maxsize=2)
def _archive(path: str, _changed: int) -> ZipFile:
    """The open archive: reading the list of a large one for every member would take longer than the members."""
    return open_zip(Path(path))
