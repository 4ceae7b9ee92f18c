"""Arrays of unfinished work on disk, without pickles."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stego_app.atomic import write_bytes
from stego_app.formats.safe_zip import DAMAGED


def save_arrays(path: Path, **arrays: npt.NDArray[Any]) -> None:
    """Write ``arrays`` whole or not at all; raises as `write_bytes`."""
    stream = io.BytesIO()
    save: Any = np.savez_compressed  # whose stubs take any name for its one option
    save(stream, **arrays)
    write_bytes(path, stream.getvalue())


def load_arrays(path: Path, *names: str) -> dict[str, npt.NDArray[Any]] | None:
    """The arrays ``names`` of what `save_arrays` wrote; None where there is no such file, or one that a crash of the machine has cut short."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except (OSError, *DAMAGED):
        return None
