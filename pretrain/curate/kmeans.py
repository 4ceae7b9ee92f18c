"""k-means by faiss with a seed, and the assignment of rows to centroids in blocks."""

from __future__ import annotations

import faiss
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

ITERATIONS = 25
PER_CENTROID = 256
"""Rows a centroid is learnt from, at most: faiss draws them."""


def kmeans(rows: Floats, clusters: int, seed: int, per_centroid: int = PER_CENTROID) -> Floats:
    """Centroids (k, D) of rows (N, D) in Euclidean distance; k is ``clusters``, or N if that is less."""
    clusters = min(clusters, len(rows))
    rows = np.ascontiguousarray(rows, np.float32)
    if clusters == len(rows):
        return rows.copy()
    solver = faiss.Kmeans(rows.shape[1], clusters, niter=ITERATIONS, seed=seed + 1, min_points_per_centroid=1, max_points_per_centroid=per_centroid)
    solver.train(rows)
    centroids: Floats = np.array(solver.centroids, np.float32)
    return centroids


def assign(rows: Floats, centroids: Floats) -> tuple[Indices, Floats]:
    """The nearest centroid (N,) of each row and the squared distance to it (N,)."""
    index = faiss.IndexFlatL2(centroids.shape[1])
    index.add(np.ascontiguousarray(centroids, np.float32))
    distances, found = index.search(np.ascontiguousarray(rows, np.float32), 1)
    return found[:, 0].astype(np.int64), distances[:, 0]
