"""Images of the pool that belong to a curated set: the nearest to each of its images, or a sample of the clusters they fall in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pretrain.curate.kmeans import assign, kmeans
from stego_app.features.similar import most_similar

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Retrieved:
    """Rows of the pool, best first; ``queries`` the curated image each was found by, ``similarities`` to it."""

    rows: list[int]
    queries: list[int]
    similarities: list[float]


def nearest_to_each(queries: Floats, pool: Floats, count: int, limit: int | None = None) -> Retrieved:
    """The ``count`` nearest images of ``pool`` (N, D) to each of ``queries`` (n, D), each image once.

    DINOv2, section 3 (self-supervised image retrieval): N nearest neighbours of each curated image, N = 4. All first
    neighbours come before all second ones, the most similar first, so that a ``limit`` cuts every curated image alike.
    """
    similarities, found = most_similar(queries, pool, count)
    taken: dict[int, tuple[int, float]] = {}
    for rank in range(found.shape[1]):
        for query in np.argsort(-similarities[:, rank], kind="stable").tolist():
            row = int(found[query, rank])
            if row >= 0 and row not in taken:
                taken[row] = (query, float(similarities[query, rank]))
    rows = list(taken)[:limit]
    return Retrieved(rows, [taken[row][0] for row in rows], [taken[row][1] for row in rows])


def sample_of_clusters(queries: Floats, pool: Floats, clusters: int, count: int, seed: int, limit: int | None = None) -> Retrieved:
    """At most ``count`` images, drawn at random, of each k-means cluster of ``pool`` (N, D) that holds one of ``queries`` (n, D).

    DINOv2, section 3: for a small curated set, images are sampled from the cluster of each query image. Clusters with
    more curated images come first; a ``limit`` takes from all of them in turn.
    """
    centroids = kmeans(pool, clusters, seed)
    members, homes = assign(pool, centroids)[0], assign(queries, centroids)[0]
    random = np.random.default_rng(seed)
    hit, hits = np.unique(homes, return_counts=True)
    drawn: list[list[tuple[int, int, float]]] = []
    for cluster in hit[np.argsort(-hits, kind="stable")].tolist():
        inside = random.permutation(np.flatnonzero(members == cluster))[:count]
        asked = np.flatnonzero(homes == cluster)
        alike = pool[inside] @ queries[asked].T
        best = alike.argmax(axis=1)
        drawn.append([(int(row), int(asked[column]), float(alike[place, column])) for place, (row, column) in enumerate(zip(inside, best, strict=True))])
    turns = [part[turn] for turn in range(max(map(len, drawn), default=0)) for part in drawn if turn < len(part)][:limit]
    return Retrieved([row for row, _, _ in turns], [query for _, query, _ in turns], [similarity for _, _, similarity in turns])
