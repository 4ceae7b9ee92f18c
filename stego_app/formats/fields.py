"""Fields of JSON documents from outside, each with one clear line where it is missing or of another kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import StegoError


def read_json(path: Path) -> Any:
    """A parsed JSON file.

    Raises:
        StegoError: it is missing, unreadable or no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise StegoError(f"{path}: no such file") from error
    except OSError as error:
        raise StegoError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise StegoError(f"{path}: not readable as JSON ({error})") from error


def records(document: Any, name: str, path: Path) -> list[dict[str, Any]]:
    """The field ``name``: a list of objects."""
    found = document.get(name) if isinstance(document, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise StegoError(f"{path}: '{name}': expected a list of objects")
    return found


def integer(entry: Mapping[str, Any], name: str, path: Path) -> int:
    """The field ``name``: a whole number that is not negative."""
    found = entry.get(name)
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise StegoError(f"{path}: '{name}': {found!r}; expected a whole number")
    return found


def text(entry: Mapping[str, Any], name: str, path: Path) -> str:
    """The field ``name``: text that is not empty."""
    found = entry.get(name)
    if not isinstance(found, str) or not found:
        raise StegoError(f"{path}: '{name}': {found!r}; expected text")
    return found
