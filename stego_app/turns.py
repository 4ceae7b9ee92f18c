"""One at a time: commands and services that change the same file take turns, so that none writes over what another has just written."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stego_app.atomic import output_error


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Nobody else has a turn of the file ``path`` within the block; waits for it. A process that is killed gives its turn back.

    Turns are locks of a hidden file beside ``path``, which is there for their time alone: ``path`` itself is replaced whenever it is written.
    A symbolic link and the file it leads to are one file.

    Raises:
        StegoError: the folder cannot be written to.
    """
    target = Path(os.path.realpath(path))
    beside = target.with_name(f".{target.name}.lock")
    try:
        lock = taken(beside)
    except OSError as error:
        raise output_error(path, error) from error
    try:
        yield
    finally:
        if lock is not None:
            with suppress(OSError):  # before it is given back: who waits for it sees that it is gone, and takes a new one
                beside.unlink(missing_ok=True)
            os.close(lock)


def taken(beside: Path, *, shared: bool = False, wait: bool = True) -> int | None:
    """The descriptor of the locked file; None where there are no locks: on Windows only the threads of one service take turns.

    Args:
        beside: the file that is locked, which is made if it is not there.
        shared: whether others may share it.
        wait: whether to wait for who has it.

    Raises:
        BlockingIOError: another has it, and ``wait`` is False.
        OSError: the file cannot be made or opened.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    while True:
        lock = os.open(beside, (os.O_RDONLY if shared else os.O_RDWR) | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, kind)
        except OSError as error:
            os.close(lock)
            if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):  # some network file systems have none
                beside.unlink(missing_ok=True)
                return None
            raise
        except BaseException:
            os.close(lock)
            raise
        try:
            if os.path.samestat(os.fstat(lock), os.stat(beside)):
                return lock
        except FileNotFoundError:
            pass
        os.close(lock)  # the one before us has removed it: this lock is nobody's
