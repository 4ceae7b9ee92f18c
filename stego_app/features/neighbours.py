"""Nearest images by pooled features."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt

from models.errors import StegoError

_LOG = logging.getLogger(__name__)
_QUERIES = 4096  # rows searched at once: bounds the scores held by faiss


def nearest_images(pooled: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
    """The ``k`` entries most alike to each entry by inner product, itself excluded; memory grows with N·k, never N².

    Args:
        pooled: (N, C) unit vectors, as `FeatureCache.pooled`.
        k: neighbours an entry; where fewer others exist, all of them are given and a warning says so.

    Returns:
        (N, min(k, N - 1)) int64, nearest first.

    Raises:
        StegoError: ``k`` is not positive, or there is only one entry.
    """
    count = len(pooled)
    if k < 1:
        raise StegoError(f"{k} neighbours: expected at least 1")
    if count < 2:
        raise StegoError(f"{count} image(s): neighbours need at least 2 images")
    if k > count - 1:
        _LOG.warning("%d neighbours asked for, but %d images have only %d others each: using %d", k, count, count - 1, count - 1)
        k = count - 1
    import faiss  # here, since it takes a quarter of a second and labelling does without it

    vectors = np.ascontiguousarray(pooled, dtype=np.float32)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    neighbours = np.empty((count, k), np.int64)
    for start in range(0, count, _QUERIES):
        _, found = index.search(vectors[start : start + _QUERIES], k + 1)
        own = np.arange(start, start + len(found))[:, None]
        # Itself is nearly always first, but a duplicate image may come before it, or push it out of the k + 1.
        kept = found != own
        kept[kept.all(axis=1), -1] = False
        neighbours[start : start + len(found)] = found[kept].reshape(-1, k)
    return neighbours
