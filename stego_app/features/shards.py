"""Shards of the feature cache: one safetensors file each, written whole or not at all, read through a memory map.

A shard holds ``tokens`` (T, C) fp16, all entries one after the other, and ``pooled`` (n, C) float32; its metadata lists
the entries. A file that exists under its final name is complete, so a killed build loses only the shard it was filling.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError

from models.errors import StegoError
from models.tensor_file import write_tensors
from stego_app.atomic import replacing

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Entry:
    """Where the features of one image (or crop) lie.

    Attributes:
        key: SHA-256 of the file's bytes, with ``#crop0`` to ``#crop4`` for a crop.
        height, width: of the grid of patches.
        shard: the file.
        row: its place among the shard's entries, so its row of ``pooled``.
        start: its first row of ``tokens``.
    """

    key: str
    height: int
    width: int
    shard: Path
    row: int
    start: int


@dataclass(frozen=True)
class Block:
    """Features of one image (or crop) on their way to a shard: tokens (h·w, C) fp16 and pooled (C,) float32."""

    key: str
    height: int
    width: int
    tokens: npt.NDArray[np.float16]
    pooled: npt.NDArray[np.float32]


class Shard:
    """A shard opened for reading; ``tokens`` stays on disk until rows of it are touched."""

    def __init__(self, path: Path) -> None:
        header, offset = _header(path)
        data = np.memmap(path, dtype=np.uint8, mode="r", offset=offset)
        self.tokens: npt.NDArray[np.float16] = _part(data, header["tokens"], np.float16)
        self.pooled: npt.NDArray[np.float32] = _part(data, header["pooled"], np.float32)


def write_shard(folder: Path, name: str, blocks: Sequence[Block]) -> Path:
    """Write ``blocks`` as the shard ``name`` of ``folder``, atomically.

    Raises:
        StegoError: the folder cannot be written, or the disk is full.
    """
    path = folder / f"{name}{SUFFIX}"
    entries = [[block.key, block.height, block.width] for block in blocks]
    arrays = {"tokens": np.concatenate([block.tokens for block in blocks]), "pooled": np.stack([block.pooled for block in blocks])}
    try:
        with replacing(path) as part:
            write_tensors(part, {name: torch.from_numpy(array) for name, array in arrays.items()}, {"entries": json.dumps(entries)})
    except (OSError, SafetensorError) as error:
        megabytes = sum(array.nbytes for array in arrays.values()) / 1e6
        raise StegoError(
            f"{folder}: cannot write {megabytes:.0f} MB of the feature cache ({error}); free space or set STEGO_CACHE to another folder"
        ) from error
    return path


def read_entries(folder: Path) -> dict[str, Entry]:
    """All entries of the whole shards in ``folder``, by key; damaged files are passed over, so their images are computed again."""
    entries: dict[str, Entry] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            header, offset = _header(path)
            listed = json.loads(header["__metadata__"]["entries"])
            if offset + header["tokens"]["data_offsets"][1] > path.stat().st_size or offset + header["pooled"]["data_offsets"][1] > path.stat().st_size:
                continue
        except (OSError, ValueError, KeyError, TypeError):
            continue
        start = 0
        for row, (key, height, width) in enumerate(listed):
            entries.setdefault(key, Entry(key, height, width, path, row, start))
            start += height * width
    return entries


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file and the offset of its data (the published layout: u64 length, JSON, data)."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length < path.stat().st_size:
            raise ValueError(f"{path}: not a safetensors file")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError(f"{path}: not a safetensors file")
    return header, 8 + length


def _part(data: npt.NDArray[np.uint8], described: dict[str, Any], dtype: type[np.generic]) -> npt.NDArray[Any]:
    begin, end = described["data_offsets"]
    return data[begin:end].view(dtype).reshape(described["shape"])
