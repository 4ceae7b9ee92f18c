"""Archives into the published layout: file by file, each whole or not at all, those that are there left alone."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from benchmarks.published.download import need_space
from benchmarks.published.recipes import Unpack
from models.errors import StegoError
from stego_app.atomic import output_error, replacing
from stego_app.progress import Progress, silent


class Member(NamedTuple):
    """A file of an archive: its path there, its size, and what opens it."""

    name: str
    size: int
    info: zipfile.ZipInfo | tarfile.TarInfo


def unpack(archive: Path, rules: tuple[Unpack, ...], root: Path, progress: Progress = silent) -> int:
    """Put the members of ``archive`` (.zip, .tar.gz) that match a rule where it says under ``root``; how many there are.

    Only a member's own file name is used, so an archive cannot write anywhere else.

    Raises:
        StegoError: not such an archive, damaged, no member that matches a rule, or a disk that is too small.
    """
    try:
        with _opened(archive) as content:
            wanted = [(member, root / rule.into / PurePosixPath(member.name).name) for rule in rules for member in _matching(content, rule, archive)]
            missing = [(member, target) for member, target in wanted if not _is_there(target, member.size)]
            root.mkdir(parents=True, exist_ok=True)
            need_space(root, sum(member.size for member, _ in missing), f"unpacking {archive.name}")
            for number, (member, target) in enumerate(missing):
                with replacing(target) as part, _stream(content, member) as source, part.open("wb") as file:
                    shutil.copyfileobj(source, file)
                progress(f"unpacking {archive.name}", number + 1, len(missing))
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise StegoError(f"{archive}: not a whole archive ({' '.join(str(error).split())}); delete it and run the same command again") from error
    except OSError as error:
        raise output_error(root, error) from error
    return len(wanted)


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as content:
            yield content
    else:
        with tarfile.open(archive) as tape:
            yield tape


def _matching(content: zipfile.ZipFile | tarfile.TarFile, rule: Unpack, archive: Path) -> list[Member]:
    if isinstance(content, zipfile.ZipFile):
        members = [Member(info.filename, info.file_size, info) for info in content.infolist() if not info.is_dir()]
    else:
        members = [Member(entry.name, entry.size, entry) for entry in content.getmembers() if entry.isfile()]
    found = [member for member in members if fnmatch("/".join(PurePosixPath(member.name).parts[-2:]), rule.match)]
    if not found:
        raise StegoError(f"{archive}: holds no {rule.match}; expected another archive, or the recipe's rule has to change")
    return found


def _is_there(target: Path, size: int) -> bool:
    return target.is_file() and target.stat().st_size == size


def _stream(content: zipfile.ZipFile | tarfile.TarFile, member: Member) -> IO[bytes]:
    if isinstance(content, zipfile.ZipFile):
        assert isinstance(member.info, zipfile.ZipInfo)
        return content.open(member.info)
    assert isinstance(member.info, tarfile.TarInfo)
    stream = content.extractfile(member.info)
    if stream is None:
        raise tarfile.ReadError(f"{member.name} cannot be read")
    return stream
