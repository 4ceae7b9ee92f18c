"""Packages that only some runtimes need."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from models.errors import StegoError


def require(package: str, *, extra: str) -> Any:
    """The imported ``package``.

    Raises:
        StegoError: it is not installed; names the extra that brings it.
    """
    if find_spec(package) is None:
        raise StegoError(f"{package} is not installed; pip install 'stego-app[{extra}]' (or uv sync --extra {extra})")
    return import_module(package)


def installed(*packages: str) -> bool:
    """Whether all of ``packages`` can be imported, without importing them."""
    return all(find_spec(package) is not None for package in packages)
