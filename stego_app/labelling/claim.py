"""One run at a time into an output folder, but for the parts of a run, which go into it beside each other."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from models.errors import StegoError
from stego_app.atomic import output_error
from stego_app.shard import Shard
from stego_app.turns import taken

_WHOLE = ".labelling.lock"
_PARTS = ".labelling-*-of-*.lock"


class BusyError(StegoError):
    """Another process labels into the folder."""


@contextmanager
def claimed(out: Path, shard: Shard | None) -> Iterator[None]:
    """``out`` is for this run alone within the block; for one ``shard`` of it, beside the others. A process that is killed gives its claim back.

    Two runs of the whole would each do all the work, take what the other has not finished for leftovers of a killed run, and rewrite one manifest.

    Raises:
        BusyError: another process has the folder, or the part; names it.
        StegoError: the folder cannot be written to.
    """
    with ExitStack() as stack:
        stack.enter_context(_held(out, _WHOLE, shard, shared=shard is not None))
        if shard is not None:
            stack.enter_context(_held(out, f".labelling-{shard.number}-of-{shard.count}.lock", shard, shared=False))
        yield
        if shard is None:
            for path in out.glob(_PARTS):  # of parts that were killed
                path.unlink(missing_ok=True)


@contextmanager
def _held(out: Path, name: str, shard: Shard | None, *, shared: bool) -> Iterator[None]:
    path = out / name
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = taken(path, shared=shared, wait=False)
    except BlockingIOError:
        raise BusyError(f"{out}: {_holder(out, name)} is labelling into it; wait for it to end, or choose another folder") from None
    except OSError as error:
        raise output_error(path, error) from error
    if lock is None:
        yield
        return
    try:
        if not shared:
            _sign(lock, shard)
        yield
    finally:
        if not shared:  # others may share it: it stays until a run of the whole ends
            with suppress(OSError):
                path.unlink(missing_ok=True)
        os.close(lock)


def _sign(lock: int, shard: Shard | None) -> None:
    part = "" if shard is None else f" (--shard {shard.number}/{shard.count})"
    with suppress(OSError):  # a full disk: then others are told of another process
        os.ftruncate(lock, 0)
        os.write(lock, f"process {os.getpid()} on {socket.gethostname()}{part}".encode())


def _holder(out: Path, name: str) -> str:
    """The process that has the folder: the one that signed, or of parts one that is at work."""
    for path in (out / name, *sorted(out.glob(_PARTS))):
        with suppress(OSError, UnicodeDecodeError):
            signed = path.read_text()
            if signed and _is_held(path):
                return signed
    return "another process"


def _is_held(path: Path) -> bool:
    try:
        lock = taken(path, shared=True, wait=False)
    except BlockingIOError:
        return True
    if lock is not None:
        os.close(lock)
    return False
