"""A person's changes to the classes, as an ordered list that is stored in the segmenter file and can be undone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.errors import StegoError

MAX_NAME = 80


@dataclass(frozen=True)
class Rename:
    """Give the class made of ``leaves`` a name."""

    leaves: tuple[int, ...]
    name: str


@dataclass(frozen=True)
class Recolour:
    """Give the class made of ``leaves`` a colour (red, green, blue; 0 to 255)."""

    leaves: tuple[int, ...]
    color: tuple[int, int, int]


@dataclass(frozen=True)
class Merge:
    """Make one class of ``leaves``."""

    leaves: tuple[int, ...]


@dataclass(frozen=True)
class Split:
    """Make two classes, one of each part."""

    parts: tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Ignore:
    """Leave the class made of ``leaves`` out: its pixels get the label 255."""

    leaves: tuple[int, ...]


Edit = Rename | Recolour | Merge | Split | Ignore
_KINDS: dict[str, type[Edit]] = {"rename": Rename, "recolour": Recolour, "merge": Merge, "split": Split, "ignore": Ignore}


def edits_to_json(edits: Sequence[Edit]) -> list[dict[str, Any]]:
    """The list as stored in a file's header."""
    kinds = {kind: name for name, kind in _KINDS.items()}
    return [{"op": kinds[type(edit)], **asdict(edit)} for edit in edits]


def edits_from_json(items: Sequence[Mapping[str, Any]], leaves: int) -> tuple[Edit, ...]:
    """Read the list back, checking every value, since a file may come from anywhere.

    Raises:
        StegoError: an unknown operation, a missing field, or a leaf that the segmenter does not have.
    """
    return tuple(_edit(dict(item), leaves) for item in items)


def checked_name(name: str) -> str:
    """``name`` without surrounding space.

    Raises:
        StegoError: it is empty, too long, or holds control characters.
    """
    name = name.strip()
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise StegoError(f"class name {name[:MAX_NAME]!r}: expected 1 to {MAX_NAME} printable characters")
    return name


def parse_color(text: str) -> tuple[int, int, int]:
    """``#rrggbb`` as three numbers.

    Raises:
        StegoError: the text is not of that form.
    """
    if re.fullmatch(r"#?[0-9a-fA-F]{6}", text) is None:
        raise StegoError(f"colour {text!r}: expected #rrggbb")
    value = int(text.removeprefix("#"), 16)
    return value >> 16 & 255, value >> 8 & 255, value & 255


def _edit(item: dict[str, Any], leaves: int) -> Edit:
    def checked(values: Any) -> tuple[int, ...]:
        result = tuple(int(value) for value in values)
        if not result or min(result) < 0 or max(result) >= leaves:
            raise ValueError(f"fine clusters {result} of {leaves}")
        return result

    operation = item.pop("op", None)
    try:
        if operation == "rename":
            return Rename(checked(item["leaves"]), checked_name(str(item["name"])))
        if operation == "recolour":
            red, green, blue = (min(255, max(0, int(value))) for value in item["color"])
            return Recolour(checked(item["leaves"]), (red, green, blue))
        if operation == "merge":
            return Merge(checked(item["leaves"]))
        if operation == "split":
            first, second = item["parts"]
            return Split((checked(first), checked(second)))
        if operation == "ignore":
            return Ignore(checked(item["leaves"]))
    except (KeyError, TypeError, ValueError) as error:
        raise StegoError(f"edit '{operation}' in the model file is not valid: {error}") from error
    raise StegoError(f"edit '{operation}' in the model file is unknown; expected one of {', '.join(_KINDS)}")
