"""Files that are written whole or not at all, and what to tell the user where one cannot be."""

from __future__ import annotations

import errno
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import StegoError
from stego_app.valid_text import text_name

PART = ".stego-part"
"""How the name of an unfinished file ends."""

_PROCESS = secrets.token_hex(4)  # of two machines that write into one shared folder, process and thread numbers may be the same

_STALE_SECONDS = 24 * 3600  # an unfinished file this old belongs to no running process

# Errors that the next file would meet as well.
_HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


class OutputError(StegoError):
    """The output folder cannot be written to; there is no use in going on."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes the place of ``path`` at the end of the block, or is removed if the block fails.

    The folders that it needs are made.

    Raises:
        OSError: whatever writing meets; `write_bytes` and `output_error` put it into words.
    """
    part = _part(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _part(path: Path) -> Path:
    """Where this thread writes what is to be at ``path``, beside it. Without the file's own name, which may be as long as the file system allows."""
    return path.with_name(f".{os.getpid()}-{threading.get_ident()}-{_PROCESS}{PART}")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, with the folders it needs.

    Raises:
        OutputError: the disk is full, or writing is not allowed.
        StegoError: this one file cannot be written, e.g. since its name is too long.
    """
    try:
        with replacing(path) as part:
            part.write_bytes(data)
    except OSError as error:
        raise output_error(path, error) from error


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`, of UTF-8; names of files in ``text`` need not be valid text.

    Raises:
        OutputError, StegoError: see `write_bytes`.
    """
    write_bytes(path, text_name(text).encode())


def refuse_folder(out: Path, example: str = "") -> None:
    """That ``out``, which an option --out names, can be a file: asked before work that would be lost; ``example`` is a name for the message.

    Raises:
        StegoError: it is a folder.
    """
    if out.is_dir():
        raise StegoError(f"--out {out}: is a folder; expected a file to write{example and f', such as {example}'}")


def check_place(out: Path) -> None:
    """That a file can be written beside ``out``, whose folder is made: asked before work that would be lost.

    Raises:
        StegoError: it cannot.
    """
    if out.is_dir():
        raise StegoError(f"{out}: is a folder; expected a file to write")
    part = _part(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        part.unlink()
    except OSError as error:
        raise output_error(out, error) from error


def output_error(path: Path, error: OSError) -> StegoError:
    """What to tell the user about ``error`` at writing ``path``."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return OutputError(f"{path}: no space left on the disk; free some and run the same command again to go on from here")
    reason = error.strerror or str(error)
    return OutputError(f"{path}: cannot be written ({reason})") if error.errno in _HOPELESS else StegoError(f"{path}: cannot be written ({reason})")


def remove_stale_parts(folder: Path) -> None:
    """Delete what killed runs left half written in a cache's ``folder``, unless it is so new that another run may be writing it."""
    for path in folder.glob("*part"):
        try:
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()
        except OSError:  # removed by another process in the meantime
            continue
