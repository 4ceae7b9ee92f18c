"""Stages with a record: what was finished with the same inputs is not done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stego_app.atomic import write_bytes

RECORD = "record.json"


def run_stage(
    folder: Path, inputs: Mapping[str, Any], artefacts: Sequence[str], work: Callable[[], Mapping[str, Any]], say: Callable[[str], None]
) -> dict[str, Any]:
    """The result of ``work()``, from its record in ``folder`` if it was done with the same ``inputs`` and left its ``artefacts`` as they are.

    Args:
        folder: of the stage; made if need be. Its name is how the stage is called.
        inputs: all that decides the result, ready for JSON.
        artefacts: files in ``folder`` that ``work`` writes.
        work: does it, and gives what to record.
        say: told whether the stage is begun or was done before.
    """
    record = folder / RECORD
    wanted = json.loads(json.dumps(inputs))
    stored = _read(record)
    if stored and stored.get("inputs") == wanted and stored.get("artefacts") == _digests(folder, artefacts):
        say(f"{folder.name}: done before")
        result: dict[str, Any] = stored["result"]
        return result
    say(f"{folder.name}: …")
    folder.mkdir(parents=True, exist_ok=True)
    result = json.loads(json.dumps(work()))
    content = {"inputs": wanted, "artefacts": _digests(folder, artefacts), "result": result}
    write_bytes(record, (json.dumps(content, indent=1) + "\n").encode())
    return result


def _read(record: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _digests(folder: Path, artefacts: Sequence[str]) -> dict[str, str | None]:
    """SHA-256 of each artefact, None for one that is missing."""
    return {name: digest(folder / name) for name in artefacts}


def digest(path: Path) -> str | None:
    """SHA-256 of a file in hex; None where it is missing."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
