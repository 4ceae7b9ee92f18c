"""Most similar rows by faiss: exact up to a size, then by inverted lists of half-precision vectors, in memory or, beyond it, on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

EXACT_ROWS = 200_000
"""Up to so many rows every one is looked at; above, 32 of 4 √N lists are (copies share a list nearly always)."""
LISTS_IN_MEMORY = 4_000_000_000
"""Bytes of half-precision vectors that are held in memory; above, they lie in a file that faiss maps."""
_PROBES = 32
_TRAINED_A_LIST = 64
_QUERIES = 4096
_ADDED = 1 << 18


def most_similar(queries: Floats, rows: Floats, count: int, *, exact_rows: int = EXACT_ROWS, in_memory: int = LISTS_IN_MEMORY) -> tuple[Floats, Indices]:
    """The ``count`` rows of ``rows`` (N, D) most similar to each of ``queries`` (n, D), by inner product; both may be memory maps.

    With at most ``exact_rows`` rows time grows with n · N, above with n · √N; memory with n · k beside the index, which is the rows up to there,
    half of their bytes above, and 4 √N rows where half of their bytes are more than ``in_memory``: the lists are then in the system's folder for
    temporary files (``TMPDIR``) until the search ends.

    Returns:
        similarities (n, k) and indices (n, k), best first; k is ``count``, or N if that is less. An index is -1 where the
        inverted lists looked at held fewer.
    """
    count = min(count, len(rows))
    similarities, found = np.empty((len(queries), count), np.float32), np.empty((len(queries), count), np.int64)
    with index_of(rows, exact_rows, in_memory) as index:
        for start in range(0, len(queries), _QUERIES):  # faiss keeps a table of a block's results beside these
            part = np.ascontiguousarray(queries[start : start + _QUERIES], np.float32)
            similarities[start : start + len(part)], found[start : start + len(part)] = index.search(part, count)
    return similarities, found


@contextmanager
def index_of(rows: Floats, exact_rows: int, in_memory: int) -> Iterator[Any]:
    """A faiss index by inner product of ``rows`` (N, D); see `most_similar`."""
    import faiss  # here, since it takes a quarter of a second and labelling does without it

    width = rows.shape[1]
    if len(rows) <= exact_rows:
        flat = faiss.IndexFlatIP(width)
        flat.add(np.ascontiguousarray(rows, np.float32))
        yield flat
        return
    lists = int(4 * len(rows) ** 0.5)
    index: Any = faiss.index_factory(width, f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)
    index.train(np.ascontiguousarray(rows[:: max(1, len(rows) // (_TRAINED_A_LIST * lists))], np.float32))
    index.nprobe = min(_PROBES, lists)
    if 2 * rows.size <= in_memory:
        _add(index, rows, 0, len(rows))
        yield index
        return
    with tempfile.TemporaryDirectory(prefix="stego-lists-") as folder:
        _add_on_disk(index, rows, Path(folder), max(1, in_memory // (2 * width)))
        yield index


def _add(index: Any, rows: Floats, start: int, end: int) -> None:
    """Put ``rows`` from ``start`` to ``end`` into ``index`` under their numbers, as single-precision copies of a few at a time."""
    for first in range(start, end, _ADDED):
        last = min(first + _ADDED, end)
        index.add_with_ids(np.ascontiguousarray(rows[first:last], np.float32), np.arange(first, last))


def _add_on_disk(index: Any, rows: Floats, folder: Path, at_once: int) -> None:
    """Put ``rows`` into the trained, empty ``index``, ``at_once`` in memory at a time, its lists in a file of ``folder``."""
    import faiss
    from faiss.contrib.ondisk import merge_ondisk

    empty = str(folder / "empty")
    faiss.write_index(index, empty)
    parts = []
    for start in range(0, len(rows), at_once):
        part = faiss.read_index(empty)
        _add(part, rows, start, min(start + at_once, len(rows)))
        parts.append(str(folder / f"part{start}"))
        faiss.write_index(part, parts[-1])
    merge_ondisk(index, parts, str(folder / "lists"))
    for written in parts:
        Path(written).unlink()  # its bytes are in the merged file now
