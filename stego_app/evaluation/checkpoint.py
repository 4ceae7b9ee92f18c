"""What is needed to go on with an evaluation that was cut off."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stego_app.atomic import write_bytes

Arrays = dict[str, npt.NDArray[Any]]


class Checkpoint:
    """Arrays in a file of the report's folder, valid for one ``identity`` only: the same data, segmenter and settings."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.path = folder / ".evaluation.npz"
        self.key = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()

    def load(self) -> Arrays | None:
        """What was saved last; None if nothing was, or for another identity, or the file is damaged."""
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except Exception:  # whatever is wrong with it, the evaluation can be done from the start
            return None
        return arrays if str(arrays.pop("key", "")) == self.key else None

    def save(self, arrays: Arrays) -> None:
        """Replace what was saved.

        Raises:
            StegoError: the file cannot be written.
        """
        buffer = BytesIO()
        np.savez(buffer, key=np.array(self.key), **arrays)  # type: ignore[arg-type]
        write_bytes(self.path, buffer.getvalue())

    def clear(self) -> None:
        """Remove the file: the evaluation is complete."""
        self.path.unlink(missing_ok=True)


def text_array(value: Any) -> npt.NDArray[np.uint8]:
    """Anything that JSON can hold, as bytes."""
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)


def from_text_array(array: npt.NDArray[np.uint8]) -> Any:
    """Inverse of `text_array`."""
    return json.loads(array.tobytes())
