"""What a killed run left unfinished in a labelled folder."""

from __future__ import annotations

from pathlib import Path

from stego_app.atomic import PART
from stego_app.labelling.names import RESULT_FOLDERS


def remove_leftovers(out: Path) -> None:
    """Remove the unfinished files of a process that was killed."""
    for folder in RESULT_FOLDERS:
        for part in (out / folder).rglob(f".*{PART}"):
            part.unlink(missing_ok=True)
    for part in out.glob(f".*{PART}"):
        part.unlink(missing_ok=True)
