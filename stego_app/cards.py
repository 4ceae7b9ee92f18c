"""The cards and notices that travel with the embedded weights: what they were made from, and on which terms."""

from __future__ import annotations

from importlib import resources
from importlib.metadata import PackageNotFoundError, distribution

from models.errors import StegoError

_NOTICES = ("licenses/NOTICE", "NOTICE")


def cards() -> str:
    """The cards of all embedded weights, and NOTICE, as Markdown.

    Raises:
        StegoError: the installation has lost them.
    """
    folder = resources.files("models") / "weights"
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".card.md")), key=lambda entry: entry.name)
    if not found:
        raise StegoError("the cards of the embedded weights are not installed; uv sync --reinstall-package stego-app")
    return "\n".join([*(entry.read_text(encoding="utf-8") for entry in found), "# NOTICE\n", _notice()])


def _notice() -> str:
    try:
        package = distribution("stego-app")
    except PackageNotFoundError as error:
        raise StegoError("stego-app is not installed as a package, so its NOTICE is not at hand; see the file NOTICE beside the source") from error
    for name in _NOTICES:
        if text := package.read_text(name):
            return text
    raise StegoError("NOTICE is not part of this installation; uv sync --reinstall-package stego-app")
