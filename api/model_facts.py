"""What the list of models tells of each, read from a file's header: no weights are loaded for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.errors import StegoError


@dataclass(frozen=True)
class Facts:
    """What the list of models tells of each."""

    classes: int
    max_classes: int
    confidence: bool
    editable: bool
    removable: bool


def read_facts(path: Path, *, removable: bool) -> Facts:
    """Facts from a segmenter file's header.

    Raises:
        StegoError: it is no segmenter file.
    """
    from safetensors import safe_open

    from models.artifact import read_header

    header = read_header(path)
    try:
        with safe_open(str(path), framework="np") as file:
            fine = int(file.get_slice("shares").get_shape()[0])
        return Facts(int(header["clusters"]["classes"]), fine, "agreement" in header, editable=True, removable=removable)
    except Exception as error:  # whatever a file that only looks like one can hold
        raise StegoError(f"{path.name}: the segmenter file is not complete ({error})") from error
