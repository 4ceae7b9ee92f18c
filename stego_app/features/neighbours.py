"""Nearest images by pooled features."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.features.similar import most_similar

_LOG = logging.getLogger(__name__)


def nearest_images(pooled: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
    """The ``k`` entries most alike to each entry by inner product, itself excluded; memory grows with N·k, never N².

    Exact up to 200,000 entries, by inverted lists above; see `most_similar`.

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
    found = most_similar(pooled, pooled, k + 1)[1]
    # Where the lists that were looked at hold too few, every row is looked at.
    if (few := (found < 0).any(axis=1)).any():
        found[few] = most_similar(pooled[few], pooled, k + 1, exact_rows=count)[1]
    # Itself is nearly always first, but a duplicate image may come before it, or push it out of the k + 1.
    kept = found != np.arange(count)[:, None]
    kept[kept.all(axis=1), -1] = False
    others: npt.NDArray[np.int64] = found[kept].reshape(-1, k)
    return others
