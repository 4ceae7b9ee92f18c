"""Balanced sampling of a pool by hierarchical k-means (Vo et al. 2024, "Automatic Data Curation for Self-Supervised Learning").

Plain k-means puts its centroids where the data are dense, so a sample of its clusters repeats the pool's imbalance.
k-means on the centroids of k-means, again and again, spreads them evenly over the support of the data (section 3.2); a
sample is then drawn from the top down, split as evenly as the sizes of the clusters allow (section 3.4).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pretrain.curate.kmeans import assign, kmeans

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

RESAMPLINGS = 5
"""Rounds of re-clustering a level on the points nearest its centroids (section 3.3)."""
NEAREST = 5
"""Points of each cluster that take part in such a round."""
PER_CLUSTER = 10
"""Points a cluster of the default levels holds on average."""


def default_levels(count: int) -> list[int]:
    """Clusters of each level, from the bottom: a tenth of the points, a tenth of that, … down to 10 or more."""
    levels = []
    while count >= 2 * PER_CLUSTER:
        count //= PER_CLUSTER
        levels.append(count)
    return levels or [1]


def build_hierarchy(rows: Floats, levels: list[int], seed: int) -> list[Indices]:
    """Clusters of clusters of ``rows`` (N, D).

    Args:
        rows: the pool.
        levels: number of clusters of each level, falling.
        seed: of k-means.

    Returns:
        For each level the cluster of each point: of each row for the first, of each cluster below for the others.
    """
    assignments = []
    points = rows
    for number, clusters in enumerate(levels):
        centroids = resampled_kmeans(points, clusters, seed + number)
        labels = assign(points, centroids)[0]
        used, labels = np.unique(labels, return_inverse=True)  # a cluster that lost all its points is none
        assignments.append(labels.astype(np.int64))
        points = centroids[used]
    return assignments


def resampled_kmeans(rows: Floats, clusters: int, seed: int) -> Floats:
    """k-means, then `RESAMPLINGS` rounds of k-means on the `NEAREST` points nearest each centroid: centroids (k, D).

    Those points are as many for a dense cluster as for a sparse one, so the centroids come nearer to an even spread.
    """
    centroids = kmeans(rows, clusters, seed)
    for turn in range(RESAMPLINGS if clusters < len(rows) else 0):
        labels, distances = assign(rows, centroids)
        order = np.lexsort((distances, labels))
        starts = np.searchsorted(labels[order], labels[order])  # where the cluster of each begins
        chosen = order[np.arange(len(rows)) - starts < NEAREST]
        centroids = kmeans(rows[np.sort(chosen)], clusters, seed + 1000 * (turn + 1))
    return centroids


def even_quotas(sizes: Indices, total: int) -> Indices:
    """How many to draw of clusters of ``sizes`` (k,) so that ``total`` are drawn as evenly as their sizes allow.

    Every cluster gives min(size, n) for the largest n that fits (Vo et al. 2024, section 3.4: the n̄ that solves
    Σ min(n̄, size) = total), and what is left goes one each to the first clusters that have more.
    """
    total = min(total, int(sizes.sum()))
    low, high = 0, int(sizes.max(initial=0))
    while low < high:
        middle = (low + high + 1) // 2
        if int(np.minimum(sizes, middle).sum()) <= total:
            low = middle
        else:
            high = middle - 1
    quotas = np.minimum(sizes, low)
    rest = total - int(quotas.sum())
    quotas[np.flatnonzero(sizes > low)[:rest]] += 1
    return quotas


def balanced_sample(assignments: list[Indices], count: int, seed: int) -> Indices:
    """Rows (count,) of the pool, rising: split evenly from the top level down, at random inside the clusters of the bottom."""
    random = np.random.default_rng(seed)
    weights: list[Indices] = [np.ones(len(assignments[0]), np.int64)]  # rows below each point of a level
    for labels in assignments:
        weights.append(np.bincount(labels, weights=weights[-1]).astype(np.int64))
    quotas = even_quotas(weights[-1], count)
    for labels, below in zip(assignments[::-1], weights[-2::-1], strict=True):
        lower = np.zeros(len(labels), np.int64)
        order = random.permutation(len(labels))  # which of equals get one more is left to chance
        grouped = order[np.argsort(labels[order], kind="stable")]
        ends = np.cumsum(np.bincount(labels, minlength=len(quotas)))
        for quota, members in zip(quotas, np.split(grouped, ends[:-1]), strict=True):
            lower[members] = even_quotas(below[members], int(quota))
        quotas = lower
    return np.flatnonzero(quotas).astype(np.int64)
