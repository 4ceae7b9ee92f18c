"""Near-duplicates: a graph of nearest neighbours, its connected components, and the one image of each that is kept.

DINOv2 (Oquab et al. 2023, section 3 and appendix A): k = 64 nearest neighbours of each image, edges above a similarity,
connected components, one image of each kept; and images connected to an evaluation set removed at a lower similarity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

NEIGHBOURS = 64


@dataclass(frozen=True)
class Removal:
    """An image of the pool to leave out, the image ``like`` it in the set ``of`` ("pool", "curated" or "evaluation"), their similarity."""

    row: int
    like: int
    similarity: float
    of: str


def pairs_above(similarities: Floats, neighbours: Indices, threshold: float) -> tuple[Indices, Indices]:
    """Edges (m,) and (m,) of the graph of `most_similar`'s result of rows among themselves, at ``threshold`` or more."""
    rows, places = np.nonzero((similarities >= threshold) & (neighbours >= 0))
    others = neighbours[rows, places]
    apart = rows != others
    return rows[apart].astype(np.int64), others[apart]


def components(count: int, first: Indices, second: Indices) -> Indices:
    """(count,) number of the connected component of each of ``count`` rows, given edges (m,) and (m,)."""
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    labels: Indices = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def representatives(labels: Indices, quality: Indices) -> Indices:
    """(count,) the row kept for each row: the best by ``quality`` (count, q) of its component, the first column first, then the earliest."""
    order = np.lexsort((np.arange(len(labels)), *(-quality[:, column] for column in reversed(range(quality.shape[1])))))
    kept = np.empty(labels.max(initial=-1) + 1, np.int64)
    kept[labels[order[::-1]]] = order[::-1]  # the best is written last
    return kept[labels]


def within_pool(vectors: Floats, labels: Indices, kept: Indices) -> list[Removal]:
    """Removals of all that are not kept themselves."""
    return [Removal(int(row), int(kept[row]), float(vectors[row] @ vectors[kept[row]]), "pool") for row in np.flatnonzero(kept != np.arange(len(labels)))]


def against_set(similarities: Floats, neighbours: Indices, labels: Indices, threshold: float, of: str) -> list[Removal]:
    """Removals of every component one of whose images resembles an image of another set at ``threshold`` or more.

    Args:
        similarities, neighbours: (N, k) nearest images of that set to each pool image.
        labels: (N,) components of the pool.
        threshold: for an evaluation set lower than within the pool: better a few images less than a test image trained on.
        of: the name of the set.
    """
    best = similarities.max(axis=1)
    near = np.flatnonzero(best >= threshold)
    seen_by: dict[int, int] = {}
    for row in near[np.argsort(best[near], kind="stable")].tolist():  # the most similar one speaks for its component
        seen_by[int(labels[row])] = row
    removed = []
    for row in np.flatnonzero(np.isin(labels, list(seen_by))).tolist():
        witness = row if best[row] >= threshold else seen_by[int(labels[row])]
        place = int(similarities[witness].argmax())
        removed.append(Removal(row, int(neighbours[witness, place]), float(similarities[witness, place]), of))
    return removed
