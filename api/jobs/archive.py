"""Zip archives from clients: looked through before anything is unpacked, and unpacked whole or not at all.

Names, counts and sizes in an archive are claims. Its directory is bounded before it is read, every name is checked
against climbing out of the folder, and `zipfile` gives no more of a file than the size that was counted.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import struct
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from models.errors import StegoError
from stego_app.atomic import OutputError, output_error, write_text
from stego_app.formats.safe_zip import DAMAGED
from stego_app.images import IMAGE_SUFFIXES, TooManyPixelsError, image_size

_PART_BYTES = 200  # of a name between slashes; most file systems take 255, and results add a suffix
_PATH_BYTES = 1000
_DEPTH = 32
_DRIVE = re.compile("[A-Za-z]:")
_NO_NAME = {"Cc", "Cs", "Zl", "Zp"}  # Unicode's control characters, halves of characters, ends of lines and paragraphs
_RATIO = 100  # images are compressed already: an archive that grows more than this, and beyond the next number, is a bomb
_ALWAYS = 256_000_000
_DIRECTORY_BYTES = _PATH_BYTES + 100  # an entry of the archive's directory, at most
_CHUNK = 1 << 20
_END = struct.Struct("<4s4H2LH")
_END_64_PLACE = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")


class ArchiveError(StegoError):
    """An archive that is not taken. ``code`` says why in a word, ``status`` is HTTP's."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Limits:
    """What an archive may hold: ``files``, and ``expanded`` bytes of all of them unpacked."""

    files: int
    expanded: int


def look_through(path: Path, limits: Limits) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """The images of an archive and where each may be unpacked, relative; nothing is unpacked.

    Files that are no images by their name, hidden ones and folders are left out; every entry is checked all the same.

    Raises:
        ArchiveError: not a zip, or one that is empty, encrypted, too large, or names files outside of itself.
    """
    try:
        size = path.stat().st_size
        if _directory_size(size, path) > limits.files * _DIRECTORY_BYTES:
            raise ArchiveError(413, "too_many_files", f"images: the archive holds too many files; at most {limits.files:,} are allowed")
        with zipfile.ZipFile(path) as archive:
            # Python 3.11's is_dir fails at a name that is empty.
            entries = [info for info in archive.infolist() if not info.filename.endswith("/")]
    except zipfile.BadZipFile as error:
        raise ArchiveError(415, "not_a_zip", f"images: not a zip archive that can be read ({error}); expected a zip of images") from error
    except (struct.error, ValueError, UnicodeDecodeError, NotImplementedError, EOFError) as error:
        raise ArchiveError(415, "not_a_zip", "images: the archive's directory is damaged; expected a zip of images") from error
    if len(entries) > limits.files:
        raise ArchiveError(413, "too_many_files", f"images: {len(entries):,} files; at most {limits.files:,} are allowed")
    total = sum(info.file_size for info in entries)
    most = min(limits.expanded, max(_ALWAYS, _RATIO * size))
    if total > most:
        raise ArchiveError(413, "expands_too_far", f"images: {total:,} bytes once unpacked; at most {most:,} are allowed for this archive")
    return _images(entries)


def unpack(path: Path, target: Path, refused: Path, limits: Limits, *, max_pixels: int, step: Callable[[int, int], None], inside: str = ".") -> None:
    """Unpack the images of an archive to ``target``, which is there as a whole afterwards or not at all.

    Images that cannot be unpacked or have too many pixels go to the list ``refused`` (JSON: name and reason); the
    others are not looked at.

    Args:
        step: called as ``step(done, total)`` after each file.
        inside: folder in ``target`` that they go to.

    Raises:
        ArchiveError: as `look_through`.
        OutputError: the disk is full, or the folder may not be written to.
    """
    images = look_through(path, limits)
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    failures: list[tuple[str, str]] = []
    with zipfile.ZipFile(path) as archive:
        for number, (info, name) in enumerate(images):
            path = part / inside / name
            reason = _unpack_one(archive, info, path, str(name), max_pixels)
            if reason is not None:
                failures.append((str(name), reason))
                path.unlink(missing_ok=True)
            step(number + 1, len(images))
    write_text(refused, json.dumps(failures))
    try:
        (part / inside).mkdir(parents=True, exist_ok=True)
        part.rename(target)
    except OSError as error:
        raise output_error(target, error) from error


def read_refused(path: Path) -> list[tuple[str, str]]:
    """The list that `unpack` has written."""
    return [(str(name), str(reason)) for name, reason in json.loads(path.read_bytes())]


def _unpack_one(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, name: str, max_pixels: int) -> str | None:
    """Why one file is refused; None where it was unpacked."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as target:
            try:
                with archive.open(info) as source:
                    shutil.copyfileobj(source, target, _CHUNK)
            except (OSError, *DAMAGED) as error:
                if isinstance(error, OSError) and error.errno is not None:  # the disk's; of damaged bzip2 it has no number
                    raise
                return f"{name}: cannot be unpacked ({' '.join(str(error).split()) or type(error).__name__})"
    except OSError as error:
        problem = output_error(path, error)
        if isinstance(problem, OutputError):
            raise problem from error
        return f"{name}: cannot be written ({error.strerror})"
    try:
        image_size(path, name, max_pixels)
    except TooManyPixelsError as error:
        return str(error)
    except StegoError:
        return None  # told where it is read
    return None


def _images(entries: list[zipfile.ZipInfo]) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Entries that are images, with their checked names."""
    images: dict[PurePosixPath, zipfile.ZipInfo] = {}
    folders: set[PurePosixPath] = set()
    for info in entries:
        name = _checked(info)
        if any(part.startswith(".") or part == "__MACOSX" for part in name.parts) or name.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if name in images:
            raise ArchiveError(422, "duplicate_name", f"images: '{_shown(info)}' is in the archive twice")
        images[name] = info
        folders.update(name.parents)
    if not images:
        suffixes = " ".join(sorted(IMAGE_SUFFIXES))
        raise ArchiveError(422, "no_images", f"images: no image in the archive; looked for {suffixes}")
    if clash := next((name for name in images if name in folders), None):
        raise ArchiveError(422, "duplicate_name", f"images: '{clash}' is a file and a folder in the archive")
    return [(info, name) for name, info in sorted(images.items())]


def _checked(info: zipfile.ZipInfo) -> PurePosixPath:
    """An entry's name as a path below the folder it is unpacked to.

    Raises:
        ArchiveError: it leads elsewhere, is a link, is encrypted, or has a name that file systems may refuse.
    """
    # Some old programs write the separators of Windows.
    text = info.filename.replace("\\", "/")
    parts = text.split("/")
    drive = _DRIVE.match(text) is not None or (os.name == "nt" and ":" in text)
    outside = text.startswith("/") or drive or any(part in {"", ".", ".."} for part in parts)
    if outside or stat.S_ISLNK(info.external_attr >> 16):
        raise ArchiveError(422, "unsafe_path", f"images: '{_shown(info)}' leads out of the archive; expected plain relative paths")
    if info.flag_bits & 0x1:
        raise ArchiveError(422, "encrypted", f"images: '{_shown(info)}' is encrypted; expected an archive without a password")
    # Not `isprintable`, which also refuses all spaces but one, and what joins letters and emoji: names on disks have them.
    odd = any(unicodedata.category(character) in _NO_NAME for character in text)
    long = odd or len(os.fsencode(text)) > _PATH_BYTES or len(parts) > _DEPTH
    if long or any(len(os.fsencode(part)) > _PART_BYTES for part in parts):
        expected = f"names without control characters, of at most {_PART_BYTES} bytes between slashes"
        raise ArchiveError(422, "unsafe_path", f"images: '{_shown(info)}': expected {expected}")
    return PurePosixPath(text)


def _shown(info: zipfile.ZipInfo) -> str:
    return "".join(character if character.isprintable() else "?" for character in info.filename[:80])


def _directory_size(size: int, path: Path) -> int:
    """Bytes that the archive says its directory has: `zipfile` reads all of them at once.

    Raises:
        zipfile.BadZipFile: no end of a directory is found.
    """
    with path.open("rb") as file:
        tail = min(size, _END.size + 0xFFFF)
        file.seek(size - tail)
        data = file.read(tail)
        place = data.rfind(b"PK\5\6")
        if place < 0 or len(data) - place < _END.size:
            raise zipfile.BadZipFile("no directory at its end")
        declared = _END.unpack_from(data, place)[5]
        start = size - tail + place - _END_64_PLACE.size
        if start >= 0:
            file.seek(start)
            mark, _, offset, _ = _END_64_PLACE.unpack(file.read(_END_64_PLACE.size))
            if mark == b"PK\6\7":
                # Releases of Python differ in where they look for the longer record: the larger claim counts.
                declared = max(declared if declared != 0xFFFFFFFF else 0, *(_declared_64(file, at) for at in (offset, start - _END_64.size)))
        return int(declared)


def _declared_64(file: BinaryIO, place: int) -> int:
    if not 0 <= place < 2**62:
        return 0
    file.seek(place)
    record = file.read(_END_64.size)
    if len(record) < _END_64.size or not record.startswith(b"PK\6\6"):
        return 0
    return int(_END_64.unpack(record)[8])
