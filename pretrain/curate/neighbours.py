"""Most similar rows by faiss: exact up to a size, then by inverted lists of half-precision vectors."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

EXACT_ROWS = 200_000
"""Up to so many rows every one is looked at; above, 32 of 4 √N lists are (copies share a list nearly always)."""
_QUERIES = 4096
_PROBES = 32


def most_similar(queries: Floats, rows: Floats, count: int, *, exact_rows: int = EXACT_ROWS) -> tuple[Floats, Indices]:
    """The ``count`` rows of ``rows`` (N, D) most similar to each of ``queries`` (n, D), by inner product.

    Returns:
        similarities (n, k) and indices (n, k), best first; k is ``count``, or N if that is less. An index is -1 where the
        inverted lists looked at held fewer.
    """
    count = min(count, len(rows))
    index = _index(rows, exact_rows)
    similarities, found = np.empty((len(queries), count), np.float32), np.empty((len(queries), count), np.int64)
    for start in range(0, len(queries), _QUERIES):  # faiss keeps a table of a block's results beside these
        part = np.ascontiguousarray(queries[start : start + _QUERIES], np.float32)
        similarities[start : start + len(part)], found[start : start + len(part)] = index.search(part, count)
    return similarities, found


def _index(rows: Floats, exact_rows: int) -> Any:
    rows = np.ascontiguousarray(rows, np.float32)
    if len(rows) <= exact_rows:
        index: Any = faiss.IndexFlatIP(rows.shape[1])
    else:
        lists = int(4 * len(rows) ** 0.5)
        index = faiss.index_factory(rows.shape[1], f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)
        index.train(rows[:: max(1, len(rows) // (64 * lists))])
        index.nprobe = min(_PROBES, lists)
    index.add(rows)
    return index
