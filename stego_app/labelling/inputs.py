"""What the user names as input: folders, files, patterns, zips and lists, in one go; video clips are found among the images."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from models.errors import StegoError
from stego_app.formats.image_file import ImageFile
from stego_app.formats.safe_zip import members, open_zip
from stego_app.images import IMAGE_SUFFIXES, find_files
from stego_app.video.reading import VIDEO_SUFFIXES

_PATTERN = frozenset("*?[")


@dataclass(frozen=True)
class Input:
    """An image and its name: relative to what it was found in, or, of several sources, to the folder that holds them all."""

    image: ImageFile
    name: PurePosixPath


@dataclass(frozen=True)
class _Source:
    """Images found in one place. ``base``: the folder (for a zip, as if it were unpacked beside itself) that the names are relative to."""

    base: Path
    inputs: tuple[Input, ...]


Unseen = Callable[[Path], Sequence[Path]]
"""The place that is searched to the folders that are not looked into there; all absolute, links resolved."""


def find_inputs(sources: Sequence[str | Path], *, unseen: Unseen = lambda _: (), may_be_empty: bool = False) -> list[Input]:
    """Every image of ``sources``, in a fixed order and each once.

    A source is a folder (with its sub-folders), an image, a zip of images, a pattern such as ``photos/**/*.jpg``, or
    ``@list.txt``: a text file that names one image a line, relative to the current folder.

    Args:
        sources: see above.
        unseen: which folders searches, of folders and by patterns, leave out. What is named itself is always taken.
        may_be_empty: whether folders without images are fine; they count for names all the same.

    Raises:
        StegoError: a source that does not exist, is empty, or a zip that is refused.
    """
    if not sources:
        raise StegoError("no input; expected a folder, an image, a zip, a pattern or @list.txt")
    found = [part for source in sources for part in _look(source, unseen, may_be_empty)]
    if len(found) == 1:
        return sorted(found[0].inputs, key=lambda item: item.name.parts)
    root = Path(os.path.commonpath([part.base.absolute() for part in found]))
    named: dict[PurePosixPath, Input] = {}
    for part in found:
        prefix = PurePosixPath(part.base.absolute().relative_to(root).as_posix())
        for item in part.inputs:
            name = prefix / item.name
            if named.setdefault(name, Input(item.image, name)).image.path.resolve() != item.image.path.resolve():
                raise StegoError(f"{item.image}: another input has the name {name} as well; label them into two folders")
    return sorted(named.values(), key=lambda item: item.name.parts)


def is_stdin(source: str | Path) -> bool:
    """Whether an input or output is a stream."""
    return str(source) == "-"


def _look(source: str | Path, unseen: Unseen, may_be_empty: bool) -> Iterator[_Source]:
    text = str(source)
    path = Path(text)
    if text.startswith("@") and not path.exists():
        yield from _listed(Path(text[1:]))
    elif _PATTERN & set(text) and not path.exists():
        yield _matched(text, unseen)
    elif path.is_file() and path.suffix.lower() == ".zip":
        yield _zipped(path)
    elif path.is_file():
        yield _single(path)
    elif not path.exists():
        raise StegoError(f"{text}: no such folder or file; expected a folder, an image, a zip, a pattern or @list.txt")
    else:
        found = find_files(path, IMAGE_SUFFIXES | VIDEO_SUFFIXES, "images", may_be_empty=may_be_empty)
        yield _searched(path, found, unseen)


def _searched(base: Path, found: Iterable[Path], unseen: Unseen) -> _Source:
    folders = unseen(base.resolve())
    seen = [path for path in found if not any(path.resolve().is_relative_to(folder) for folder in folders)]
    return _Source(base, tuple(Input(ImageFile(path), PurePosixPath(path.relative_to(base).as_posix())) for path in seen))


def _single(path: Path) -> _Source:
    return _Source(path.parent, (Input(ImageFile(path), PurePosixPath(path.name)),))


def listed_paths(file: Path) -> list[Path]:
    """The paths that a list file names, one a line; empty lines are left out.

    Raises:
        StegoError: the file cannot be read, or names nothing.
    """
    try:
        # Bytes that are no UTF-8 may well be the name of a file. Editors on Windows begin a file with a mark of its encoding. Lines end as in any text file:
        # str.splitlines would also cut names at characters such as U+2028.
        lines = file.read_text(encoding="utf-8-sig", errors="surrogateescape").split("\n")
    except OSError as error:
        raise StegoError(f"{file}: the list cannot be read ({error.strerror or error})") from error
    paths = [Path(line) for line in lines if line.strip()]
    if not paths:
        raise StegoError(f"{file}: the list is empty; expected one image a line")
    return paths


def _listed(file: Path) -> Iterator[_Source]:
    paths = listed_paths(file)
    if any(path.is_dir() for path in paths):
        raise StegoError(f"{file}: names the folder {next(path for path in paths if path.is_dir())}; expected images")
    # One that is missing is a failure of that image, told with the others.
    yield from (_single(Path(os.path.normpath(path))) for path in paths)


def _matched(pattern: str, unseen: Unseen) -> _Source:
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if _PATTERN & set(part))
    base = Path(*parts[:fixed]) if fixed else Path()
    paths = [Path(text) for text in glob.glob(pattern, recursive=True)]
    images = [path for path in paths if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES]
    if not images:
        raise StegoError(f"{pattern}: no images match")
    return _searched(base, images, unseen)


def _zipped(path: Path) -> _Source:
    with open_zip(path) as archive:
        names = [name for name in members(archive) if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]
    if not names:
        raise StegoError(f"{path}: no images in the zip; looked for {' '.join(sorted(IMAGE_SUFFIXES))}")
    return _Source(path.with_suffix(""), tuple(Input(ImageFile(path, name), PurePosixPath(name)) for name in names))
