"""Writing results whole or not at all, and telling a full disk from a bad image."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from models.errors import StegoError

_PART = ".stego-part"

# Errors that the next image would meet as well.
_HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


class OutputError(StegoError):
    """The output folder cannot be written to; there is no use in going on."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, with the folders it needs.

    Raises:
        OutputError: the disk is full, or writing is not allowed.
        StegoError: this one file cannot be written, e.g. since its name is too long.
    """
    part = path.with_name(f".{os.getpid()}{_PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(data)
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise output_error(path, error) from error


def output_error(path: Path, error: OSError) -> StegoError:
    """What to tell the user about ``error`` at writing ``path``."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return OutputError(f"{path}: no space left on the disk; free some and run the same command again to go on from here")
    reason = error.strerror or str(error)
    return OutputError(f"{path}: cannot be written ({reason})") if error.errno in _HOPELESS else StegoError(f"{path}: cannot be written ({reason})")


def remove_leftovers(out: Path) -> None:
    """Remove the unfinished files of a process that was killed."""
    for folder in ("labels", "overlays"):
        for part in (out / folder).rglob(f".*{_PART}"):
            part.unlink(missing_ok=True)
    for part in out.glob(f".*{_PART}"):
        part.unlink(missing_ok=True)
