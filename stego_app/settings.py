"""Reading settings: a TOML file and ``--set a.b=c`` into a frozen pydantic model, with errors that name the field."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from models.errors import StegoError

Model = TypeVar("Model", bound=BaseModel)


def load_settings(
    kind: type[Model],
    *,
    file: Path | None,
    overrides: Sequence[str],
    fields: Mapping[str, Any],
    option: str = "--set",
    example: str = "discovery.codes=256",
) -> Model:
    """Settings of ``kind``: the file's values, then ``fields`` that are not None, then ``overrides``.

    Args:
        kind: the pydantic model to fill.
        file: a TOML file, or None.
        overrides: "a.b=value" strings; the value is read as TOML, and as plain text where it is none.
        fields: values given by name, e.g. from command-line options; None means not given.
        option: what the command line calls ``overrides``.
        example: one of them, shown where one is no such string.

    Raises:
        StegoError: an unreadable file, or a field that is unknown or out of range.
    """
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StegoError(f"{file}: no such settings file") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise StegoError(f"{file}: not a readable TOML file ({error})") from error
    for name, value in fields.items():
        if value is not None:
            _put(values, name.split("."), value)
    for text in overrides:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise StegoError(f"{option} {text}: expected name=value, e.g. {option} {example}")
        _put(values, name.strip().split("."), _value(value.strip()))
    return checked(kind, values, "setting")


def checked(kind: type[Model], values: Mapping[str, Any], what: str, names: Mapping[str, str] | None = None) -> Model:
    """``kind`` filled with ``values``.

    Args:
        kind: the pydantic model to fill.
        values: by field.
        what: what errors call a field.
        names: of fields that people know by another name.

    Raises:
        StegoError: names the first field that is wrong and what was expected.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        # Behind a field that takes values of several kinds stands pydantic's own word for the kind, such as "constrained-int" or "literal['auto']".
        where = ".".join(str(part) for part in first["loc"] if not set("-[") & set(str(part)))
        raise StegoError(f"{what} '{(names or {}).get(where, where)}': {first['msg']} (got {first['input']!r})") from error


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        inner = values.setdefault(name, {})
        if not isinstance(inner, dict):
            raise StegoError(f"setting '{'.'.join(path)}': '{name}' is a single value, not a group")
        values = inner
    values[path[-1]] = value


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
