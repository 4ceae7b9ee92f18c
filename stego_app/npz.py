"""Arrays of unfinished work on disk, without pickles."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stego_app.atomic import write_bytes


def save_arrays(path: Path, **arrays: npt.NDArray[Any]) -> None:
    """Write ``arrays`` whole or not at all; raises as `write_bytes`."""
    stream = io.BytesIO()
    save: Any = np.savez_compressed  # whose stubs take any name for its one option
    save(stream, **arrays)
    write_bytes(path, stream.getvalue())


def load_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """What `save_arrays` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)
