"""Spherical k-means on patch features: the baseline that every published method is compared with, by faiss and not by the product's own code."""

from __future__ import annotations

import faiss
import numpy as np
import numpy.typing as npt


def kmeans_directions(tokens: npt.NDArray[np.float32], clusters: int, seed: int) -> npt.NDArray[np.float32]:
    """Unit directions (clusters, C) of spherical k-means (Dhillon and Modha, 2001) over ``tokens`` (n, C) of any length, best of three starts."""
    unit = np.ascontiguousarray(tokens / np.maximum(np.linalg.norm(tokens, axis=1, keepdims=True), 1e-12), dtype=np.float32)
    kmeans = faiss.Kmeans(unit.shape[1], clusters, niter=25, nredo=3, spherical=True, seed=seed, min_points_per_centroid=1, max_points_per_centroid=len(unit))
    kmeans.train(unit)
    return np.asarray(kmeans.centroids, np.float32)
