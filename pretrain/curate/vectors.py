"""Descriptors of whole images on disk: shards of safetensors, each written whole or not at all, found again by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open

from models.errors import StegoError
from models.tensor_file import write_tensors
from stego_app.atomic import output_error, remove_stale_parts, replacing

Floats = npt.NDArray[np.float32]
KINDS = ("cls", "pooled", "layout")
"""What is kept of an image: its CLS token (C,), the mean of its unit patch tokens (C,), and their 3 × 3 layout (6 C,)."""
_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Row:
    """Descriptors on their way to a shard, and ``shape``: height, width and bytes of the file."""

    key: str
    cls: npt.NDArray[np.float16]
    pooled: npt.NDArray[np.float16]
    layout: npt.NDArray[np.float16]
    shape: tuple[int, int, int]


class VectorStore:
    """The shards of one folder. A killed run loses the rows that were not flushed, and no others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        remove_stale_parts(folder)
        self._places: dict[str, tuple[Path, int]] = {}
        for path in sorted(folder.glob(f"*{_SUFFIX}")):
            for number, key in enumerate(_keys(path)):
                self._places.setdefault(key, (path, number))
        self._waiting: dict[str, Row] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._places or key in self._waiting

    @property
    def waiting(self) -> int:
        """Rows that are not on disk yet."""
        return len(self._waiting)

    def add(self, row: Row) -> None:
        """Take a row; `flush` writes it."""
        self._waiting[row.key] = row

    def flush(self) -> None:
        """Write what waits as one shard.

        Raises:
            StegoError: the folder cannot be written, or the disk is full.
        """
        if not self._waiting:
            return
        rows = list(self._waiting.values())
        path = self.folder / (hashlib.sha256("|".join(self._waiting).encode()).hexdigest()[:24] + _SUFFIX)
        tensors = {kind: torch.from_numpy(np.stack([getattr(row, kind) for row in rows])) for kind in KINDS}
        tensors["shape"] = torch.tensor([row.shape for row in rows], dtype=torch.int64)
        try:
            with replacing(path) as part:
                write_tensors(part, tensors, {"keys": json.dumps([row.key for row in rows])})
        except OSError as error:
            raise output_error(path, error) from error
        except SafetensorError as error:
            raise StegoError(f"{self.folder}: cannot write the cache of descriptors ({error}); free space or set STEGO_CACHE to another folder") from error
        self._places |= {row.key: (path, number) for number, row in enumerate(rows)}
        self._waiting = {}

    def read(self, keys: Sequence[str], kind: str, transform: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] | None = None) -> npt.NDArray[Any]:
        """The rows of ``keys``, in that order, each passed through ``transform``; one shard at a time is in memory beside the result.

        Args:
            keys: at least one, all in the store and flushed.
            kind: one of `KINDS`, or "shape".
            transform: (n, C) to (n, D).
        """
        by_shard: dict[Path, list[tuple[int, int]]] = {}
        for target, key in enumerate(keys):
            path, number = self._places[key]
            by_shard.setdefault(path, []).append((target, number))
        result: npt.NDArray[Any] | None = None
        for path, places in by_shard.items():
            targets, numbers = (np.array(side) for side in zip(*places, strict=True))
            rows = _tensor(path, kind)[numbers]
            rows = rows if transform is None else transform(rows)
            if result is None:
                result = np.empty((len(keys), *rows.shape[1:]), rows.dtype)
            result[targets] = rows
        if result is None:
            raise ValueError("no keys to read")
        return result


def _keys(path: Path) -> list[str]:
    """The keys of a shard; none if it is damaged, so that its images are computed again."""
    try:
        with safe_open(str(path), framework="numpy") as file:
            keys = json.loads((file.metadata() or {}).get("keys", "[]"))
            complete = set(KINDS) | {"shape"} <= set(file.keys())
    except (SafetensorError, OSError, ValueError):
        return []
    return [str(key) for key in keys] if complete else []


def _tensor(path: Path, name: str) -> npt.NDArray[Any]:
    try:
        with safe_open(str(path), framework="numpy") as file:
            tensor: npt.NDArray[Any] = file.get_tensor(name)
            return tensor
    except (SafetensorError, OSError) as error:
        raise StegoError(f"{path}: the cache of descriptors was removed or damaged while in use ({error}); run again to compute it anew") from error
