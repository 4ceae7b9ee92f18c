"""What a bridge is fitted to: images in folders that are called what the images show, and other things to call them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import StegoError
from stego_app.images import find_images

_EXPECTED = 'expected {"folder": ["name", "broader name", ...], ...}'


@dataclass(frozen=True)
class NamedImages:
    """Images and what they show.

    Attributes:
        paths: n images.
        names: what each shows, in one word or a few.
        broader: for each, names of the kinds that it belongs to, the nearest first; may be empty.
    """

    paths: list[Path]
    names: list[str]
    broader: list[tuple[str, ...]]


def named_images(folders: Sequence[Path], names: Path | None = None) -> NamedImages:
    """Every image below ``folders``, named by its own folder, or by what ``names`` (JSON: folder to names, the broader ones last) says of that.

    Folders of which ``names`` gives an empty list are left out.

    Raises:
        StegoError: no image, or a file of names that cannot be used.
    """
    table = {} if names is None else _read(names)
    found = NamedImages([], [], [])
    for root in folders:
        for path in find_images(root):
            said = table.get(path.parent.name, [path.parent.name.replace("_", " ").lower()])
            if said:
                found.paths.append(path)
                found.names.append(said[0])
                found.broader.append(tuple(said[1:]))
    if len(set(found.names)) < 2:
        raise StegoError(
            f"{', '.join(map(str, folders))}: images of {len(set(found.names))} name(s); expected folders of images, each called what its images show"
        )
    return found


def _read(path: Path) -> dict[str, list[str]]:
    try:
        table: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StegoError(f"{path}: cannot be read ({error.strerror or error}); {_EXPECTED}") from error
    except ValueError as error:
        raise StegoError(f"{path}: not JSON ({error}); {_EXPECTED}") from error
    right = isinstance(table, dict) and all(isinstance(said, list) and all(isinstance(name, str) for name in said) for said in table.values())
    if not right:
        raise StegoError(f"{path}: {_EXPECTED}")
    return dict(table)
