"""Large files from the network: whole or not at all, checked, and gone on with where they were cut off."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.published.recipes import Download
from models.errors import StegoError
from stego_app.atomic import output_error, write_bytes
from stego_app.progress import Progress, silent

TRIES = 3
TIMEOUT = 30.0
_CHUNK = 1 << 20
_MEGA = 1_000_000
_RETRIED = {408, 425, 429, 500, 502, 503, 504}


class _Interrupted(Exception):
    """The connection ended before the file did."""


def fetch(download: Download, folder: Path, progress: Progress = silent, *, tries: int = TRIES, timeout: float = TIMEOUT) -> Path:
    """Download a file into ``folder`` unless it is there; what a broken download left is gone on with.

    The part that has arrived lies beside as ``NAME.part``, with the server's validator, so that a file that changed in
    the meantime is begun anew instead of being joined from two versions.

    Raises:
        StegoError: no network, an error of the server, a disk that is too small, or a file of another size or checksum.
    """
    target, part = folder / download.file, folder / f"{download.file}.part"
    if target.is_file():
        if download.size is not None and target.stat().st_size != download.size:
            raise StegoError(f"{target}: is {target.stat().st_size} bytes; expected {download.size}; delete it and run the same command again")
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if download.size is not None:
            need_space(folder, download.size - _size(part), f"the download {download.file}")
        for attempt in range(1, tries + 1):
            try:
                _receive(download, part, progress, timeout)
                break
            except _Interrupted as error:
                if attempt == tries:
                    raise StegoError(_gave_up(download, target, part, error)) from error
        _check(download, part)
        os.replace(part, target)
        _validator(part).unlink(missing_ok=True)
    except OSError as error:
        raise output_error(target, error) from error
    return target


def need_space(folder: Path, bytes_needed: int, what: str) -> None:
    """Check that the disk of ``folder`` has room.

    Raises:
        StegoError: it has not.
    """
    free = shutil.disk_usage(folder).free
    if bytes_needed > free:
        raise StegoError(f"{folder}: the disk has {free / 1e9:.1f} GB free; {what} needs {bytes_needed / 1e9:.1f} GB more")


def _receive(download: Download, part: Path, progress: Progress, timeout: float) -> None:
    """Append to ``part`` until it is whole."""
    have = _size(part)
    stored = _stored_validator(part, download.url)
    if have and stored is None:
        have = 0
    if have and have == download.size:
        return
    headers = {"User-Agent": "stego-benchmarks", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if stored:
            headers["If-Range"] = stored
    try:
        with urllib.request.urlopen(urllib.request.Request(download.url, headers=headers), timeout=timeout) as answer:
            resumed = answer.status == 206
            have = have if resumed else 0
            total = have + int(answer.headers.get("Content-Length") or 0)
            if download.size is not None and total not in (have, download.size):
                raise StegoError(f"{download.url}: the server offers {total} bytes; expected {download.size}: the file has changed")
            if not resumed:
                part.write_bytes(b"")  # before its validator changes, so that the two never disagree
                write_bytes(_validator(part), json.dumps([download.url, answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""]).encode())
            with part.open("ab") as file:
                while data := _read(answer):
                    file.write(data)
                    have += len(data)
                    progress(f"downloading {download.file} (MB)", have // _MEGA, max(total, have) // _MEGA)
            if have < total:
                raise _Interrupted("the connection was closed")
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is as long as the file, or does not belong to it
            if str(error.headers.get("Content-Range", "")).endswith(f"/{have}"):
                return
            part.unlink(missing_ok=True)
            raise _Interrupted("the part did not fit the file") from error
        if error.code in _RETRIED:
            raise _Interrupted(f"the server answers {error.code} {error.reason}") from error
        raise StegoError(f"{download.url}: the server answers {error.code} {error.reason}; expected the file {download.file}") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise _Interrupted(str(getattr(error, "reason", "") or error or type(error).__name__)) from error


def _read(answer: Any) -> bytes:
    data: bytes = answer.read(_CHUNK)
    return data


def _gave_up(download: Download, target: Path, part: Path, reason: Exception) -> str:
    have = _size(part)
    if not have:
        return f"{download.url}: cannot be downloaded ({reason}); check the network, or put the file at {target} yourself"
    return f"{download.url}: interrupted after {have / _MEGA:.1f} MB ({reason}); run the same command again to go on from there"


def _check(download: Download, part: Path) -> None:
    """Raise a StegoError, and remove the part, unless size and checksum are as expected."""
    size = _size(part)
    if download.size is not None and size != download.size:
        part.unlink()
        raise StegoError(f"{download.url}: {size} bytes arrived; expected {download.size}; the download was deleted, run the same command again")
    if download.md5 is not None:
        digest = hashlib.md5(usedforsecurity=False)
        with part.open("rb") as file:
            while data := file.read(_CHUNK):
                digest.update(data)
        if digest.hexdigest() != download.md5:
            part.unlink()
            raise StegoError(f"{download.url}: checksum {digest.hexdigest()}; expected {download.md5}; the download was deleted, run the same command again")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _validator(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _stored_validator(part: Path, url: str) -> str | None:
    """The validator of what has arrived; None where it is unknown or of another address."""
    try:
        of, value = json.loads(_validator(part).read_text())
    except (OSError, ValueError):
        return None
    return str(value) if of == url else None
