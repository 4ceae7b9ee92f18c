"""Zips from outside: refused if they lead out of their folder or grow beyond reason; and zips of ours, the same bytes every time."""

from __future__ import annotations

import stat
import struct
import zlib
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, LargeZipFile, ZipFile, ZipInfo

from models.errors import StegoError

MAX_MEMBERS = 1_000_000
MAX_MEMBER_BYTES = 2_000_000_000
MAX_RATIO = 200
"""A member that grows more than this is no photo or label map, if it is large too: a plain label map of one class can shrink a thousandfold."""
RATIO_FREE_BYTES = 64_000_000

DAMAGED = (BadZipFile, zlib.error, LZMAError, struct.error, EOFError, KeyError, OverflowError, RuntimeError, ValueError)
"""What reading a damaged archive or member raises besides OSError: `zipfile` lets through what its decoders raise."""

_DATE = (1980, 1, 1, 0, 0, 0)


def open_zip(path: Path) -> ZipFile:
    """An archive whose members have been looked at by name and declared size; nothing was unpacked.

    Raises:
        StegoError: missing, not a zip, encrypted, a link, a name that leads out of its folder, two members of one name, or a member that grows beyond reason.
    """
    try:
        archive = ZipFile(path)
    except FileNotFoundError as error:
        raise StegoError(f"{path}: no such file") from error
    except (LargeZipFile, OSError, *DAMAGED) as error:
        raise StegoError(f"{path}: not a readable zip ({error})") from error
    try:
        _check(archive, path)
    except StegoError:
        archive.close()
        raise
    return archive


def members(archive: ZipFile) -> list[str]:
    """Names of the files in an archive, without folders, hidden files and what macOS adds; sorted."""
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    return sorted(name for name in names if not any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts))


def add_bytes(archive: ZipFile, name: str, data: bytes, *, packed: bool = True) -> None:
    """Add a member with a fixed date, so that the same content gives the same archive. ``packed``: deflate it; images are packed already."""
    info = ZipInfo(name, _DATE)
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    archive.writestr(info, data, ZIP_DEFLATED if packed else ZIP_STORED)


def _check(archive: ZipFile, path: Path) -> None:
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise StegoError(f"{path}: {len(infos):,} members; expected at most {MAX_MEMBERS:,}")
    seen: set[str] = set()
    for info in infos:
        name = info.filename
        if not is_inside(name):
            raise StegoError(f"{path}: member {name!r} leads out of its folder; refused")
        if name in seen:
            raise StegoError(f"{path}: two members are called {name!r}; refused")
        seen.add(name)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise StegoError(f"{path}: member {name!r} is a link; refused")
        if info.flag_bits & 1:
            raise StegoError(f"{path}: member {name!r} is encrypted; expected a zip without a password")
        grown = info.file_size > RATIO_FREE_BYTES and info.file_size > MAX_RATIO * max(1, info.compress_size)
        if info.file_size > MAX_MEMBER_BYTES or grown:
            raise StegoError(f"{path}: member {name!r} grows from {info.compress_size:,} to {info.file_size:,} bytes; refused as a zip bomb")


def is_inside(name: str) -> bool:
    """Whether a relative POSIX path stays inside the folder that it is relative to, on every system."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and not any(char in name for char in "\\\0") and ":" not in parts[0]
