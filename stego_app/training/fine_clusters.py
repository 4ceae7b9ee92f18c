"""Fine clusters beneath the classes of STEGO's cluster probe, so that granularity can be chosen after training."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.cluster.hierarchy import linkage

from stego_app.discovery.codebook import spherical_kmeans

_TOKENS_PER_FINE = 16


def split_classes(
    codes: npt.NDArray[np.float32], clusters: npt.NDArray[np.float32], fine: int, seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Fine clusters of each class and the tree over all of them.

    A class gets fine clusters in proportion to its share of patches, at least one; spherical k-means of its codes finds
    them. Merges inside classes come first, so the cut into as many parts as there are classes gives the classes.

    Args:
        codes: (n, E) unit codes of sampled patches.
        clusters: (K, E) unit directions of the classes.
        fine: fine clusters wanted in all.
        seed: of the k-means.

    Returns:
        directions (F, E) and merges (F - 1, 2) in SciPy's numbering; K <= F, about ``fine``.
    """
    random = np.random.default_rng(seed)
    nearest = (codes @ clusters.T).argmax(axis=1)
    parts: list[npt.NDArray[np.float32]] = []
    for label, direction in enumerate(clusters):
        own = codes[nearest == label]
        wanted = max(1, min(round(fine * len(own) / len(codes)), len(own) // _TOKENS_PER_FINE))
        parts.append(direction[None] if wanted == 1 else spherical_kmeans(torch.from_numpy(own), wanted, random).numpy())
    return np.concatenate(parts).astype(np.float32), _merges(parts, clusters)


def _merges(parts: list[npt.NDArray[np.float32]], clusters: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Average linkage by cosine, first inside each class, then between classes."""
    total = sum(len(part) for part in parts)
    rows: list[tuple[int, int]] = []
    tops: list[int] = []
    first = 0
    for part in parts:
        tops.append(_join(rows, list(range(first, first + len(part))), part, total))
        first += len(part)
    _join(rows, tops, clusters, total)
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def _join(rows: list[tuple[int, int]], nodes: list[int], directions: npt.NDArray[np.float32], total: int) -> int:
    """Append the merges of ``nodes`` to ``rows``; the node that holds them all."""
    if len(nodes) == 1:
        return nodes[0]
    for left, right in linkage(directions.astype(np.float64), "average", metric="cosine")[:, :2].astype(int):
        rows.append((nodes[left], nodes[right]))
        nodes.append(total + len(rows) - 1)
    return nodes[-1]
