"""Image files made ready for the backbone: read, hashed, decoded and resized."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from models.errors import StegoError
from stego_app.features.extract import Resolution, resize_for_backbone
from stego_app.images import read_image

Crops = Literal["none", "five"]
CROPS = 5


@dataclass(frozen=True)
class Prepared:
    """One file read: its content key, and backbone inputs (3, h, w) unless all of its entries are known; or why it failed."""

    path: Path
    content: str
    inputs: list[torch.Tensor]
    reason: str | None = None


def crop_keys(content: str, crops: Crops) -> list[str]:
    """Cache keys of the entries of a file: its content key, or one for each crop."""
    return [content] if crops == "none" else [f"{content}#crop{number}" for number in range(CROPS)]


def five_crops(image: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
    """Four corners and the centre of ``image`` (H, W, 3), each of half its height and width (STEGO, supplement: five-crop)."""
    height, width = image.shape[:2]
    h, w = max(1, height // 2), max(1, width // 2)
    corners = [(0, 0), (0, width - w), (height - h, 0), (height - h, width - w), ((height - h) // 2, (width - w) // 2)]
    return [image[top : top + h, left : left + w] for top, left in corners]


def prepare(
    path: Path,
    known: Callable[[str], bool],
    resolution: Resolution,
    patch: int,
    crops: Crops,
    brighten: bool = False,
    read: Callable[[Path], npt.NDArray[np.uint8]] | None = None,
) -> Prepared:
    """Read and hash the file at ``path``; decode (by ``read``, if given) and resize it unless ``known`` says that all its keys are in the cache."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return Prepared(path, "", [], error.strerror or str(error))
    content = hashlib.sha256(data).hexdigest()
    if all(known(key) for key in crop_keys(content, crops)):
        return Prepared(path, content, [])
    try:
        image = read_image(data, name=str(path)) if read is None else read(path)
    except StegoError as error:
        return Prepared(path, content, [], str(error).removeprefix(f"{path}: "))
    parts = [image] if crops == "none" else five_crops(image)
    return Prepared(path, content, [resize_for_backbone(np.ascontiguousarray(part), resolution, patch, brighten=brighten) for part in parts])
