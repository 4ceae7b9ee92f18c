"""What the user names as images: folders, single images, and lists of paths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from models.errors import StegoError
from stego_app.images import find_images
from stego_app.labelling.inputs import listed_paths


def gather(sources: Sequence[str | Path]) -> list[Path]:
    """The images of ``sources`` as absolute paths, in the order given and each once.

    A source is a folder (searched with its sub-folders), an image, or ``@list.txt``: a text file of one path a line.

    Raises:
        StegoError: a source that does not exist or holds no images.
    """
    found: dict[Path, None] = {}
    for source in sources:
        for path in _images(source):
            found.setdefault(path.absolute())
    return list(found)


def read_image_list(path: Path) -> list[Path]:
    """The paths of a list file, one a line, empty lines left out; relative ones are relative to the current folder.

    Raises:
        StegoError: the file cannot be read, is empty, or names something that is no file.
    """
    paths = listed_paths(path)
    for number, entry in enumerate(paths, start=1):
        if entry.is_dir():
            raise StegoError(f"{path}: line {number} names the folder {entry}; expected an image")
    return paths


def list_text(paths: Iterable[Path]) -> bytes:
    """A list file of ``paths`` as `read_image_list` takes it.

    Raises:
        StegoError: a path that holds a line break.
    """
    lines = [str(path) for path in paths]
    for line in lines:
        if "\n" in line or "\r" in line:
            raise StegoError(f"{line!r}: a line break in the name of a file; a list of paths cannot hold it: rename the file")
    return "".join(f"{line}\n" for line in lines).encode("utf-8", errors="surrogateescape")


def _images(source: str | Path) -> list[Path]:
    path = Path(source)
    if str(source).startswith("@") and not path.exists():
        return read_image_list(Path(str(source)[1:]))
    if path.is_file():
        return [path]
    return find_images(path)
