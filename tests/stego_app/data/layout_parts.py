"""Small files of a data set, and what is asked of it, for the tests of layouts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.errors import StegoError
from stego_app.data import Dataset

SIZE = (4, 6)


def write_image(path: Path, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 90, dtype=np.uint8)).save(path)
    return path


def write_label(path: Path, values: Sequence[int] = (0,), size: tuple[int, int] = SIZE) -> Path:
    """A label picture that holds ``values`` over and over, row by row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.resize(np.array(values, dtype=np.uint8), size)).save(path)
    return path


def keys(dataset: Dataset) -> list[str]:
    return [sample.key for sample in dataset.samples]


def mapping_of(dataset: Dataset) -> dict[int, int]:
    return {value: int(label) for value, label in enumerate(dataset.rule.table) if label >= 0}


def message(error: pytest.ExceptionInfo[StegoError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def camvid_tree(root: Path, *, segnet: bool) -> None:
    for split, frame in (("train", "0001TP_006690"), ("train", "0016E5_00390"), ("val", "Seq05VD_f00000")):
        write_image(root / (f"{split}/{frame}.png" if segnet else f"images/{split}/{frame}.jpg"))
        write_label(root / (f"{split}annot/{frame}.png" if segnet else f"labels/{split}/{frame}.png"), [*range(11), 11 if segnet else 255])
