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
    if folder := next((entry for entry in paths if entry.is_dir()), None):
        raise StegoError(f"{path}: names the folder {folder}; expected images")
    return paths


def list_text(paths: Iterable[Path]) -> bytes:
    """A list file of ``paths``, all of which `fits_a_line`, as `read_image_list` takes it."""
    return "".join(f"{path}\n" for path in paths).encode("utf-8", errors="surrogateescape")


def fits_a_line(path: Path) -> bool:
    """Whether a list can hold the path: it has no line break."""
    return not {"\n", "\r"} & set(str(path))


def _images(source: str | Path) -> list[Path]:
    path = Path(source)
    if str(source).startswith("@") and not path.exists():
        return read_image_list(Path(str(source)[1:]))
    if path.is_file():
        return [path]
    return find_images(path)
