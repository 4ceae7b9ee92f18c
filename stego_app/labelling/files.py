"""The files of a labelled folder: written whole or not at all, and cleared of what a killed run left unfinished."""

from __future__ import annotations

from pathlib import Path

from stego_app.atomic import PART, OutputError, output_error
from stego_app.atomic import write_bytes as write_atomically

__all__ = ["OutputError", "output_error", "remove_leftovers", "write_atomically"]


def remove_leftovers(out: Path) -> None:
    """Remove the unfinished files of a process that was killed."""
    for folder in ("labels", "overlays"):
        for part in (out / folder).rglob(f".*{PART}"):
            part.unlink(missing_ok=True)
    for part in out.glob(f".*{PART}"):
        part.unlink(missing_ok=True)
