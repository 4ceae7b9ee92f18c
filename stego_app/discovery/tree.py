"""The tree over fine clusters: its cut at the classes asked for gives exactly these; other cuts are nested in it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


class Tree(NamedTuple):
    """``leaf_of_code`` (M,) the fine cluster of each code; ``merges`` (F - 1, 2) in SciPy's numbering, in order of merging."""

    leaf_of_code: Labels
    merges: Labels


def build_tree(codes: Matrix, pairs: Matrix, labels: Labels, fine: int) -> Tree:
    """Fine clusters inside the classes, joined two at a time: first inside classes, then the classes themselves.

    Args:
        codes: (M, E) position of each code; more dimensions than classes let fine clusters differ.
        pairs: (M, M) distribution of positive pairs, sums to 1.
        labels: (M,) class of each code, 0 to K - 1, all in use.
        fine: F, number of fine clusters, from K to M.
    """
    leaf_of_code = fine_clusters(codes, pairs.sum(1), labels, fine)
    _, first = np.unique(leaf_of_code, return_index=True)
    return Tree(leaf_of_code, merge_order(pairs, leaf_of_code, labels[first]))


def fine_clusters(points: Matrix, weights: Matrix, labels: Labels, fine: int) -> Labels:
    """Cluster (M,) of each point by Ward's linkage of weighted ``points`` (M, E), never across ``labels``, numbered by first point.

    Ward, since fine clusters should be small all round; it is cheap to write for weights, which SciPy's does not take.
    """
    count = len(points)
    centres, mass, cluster = points.copy(), weights.copy(), np.arange(count)
    squares = ((centres[:, None] - centres[None]) ** 2).sum(2)
    cost = mass[:, None] * mass[None] / (mass[:, None] + mass[None]) * squares
    cost[labels[:, None] != labels[None]] = np.inf
    np.fill_diagonal(cost, np.inf)
    for _ in range(count - fine):
        a, b = sorted(int(i) for i in np.unravel_index(cost.argmin(), cost.shape))
        centres[a] = (mass[a] * centres[a] + mass[b] * centres[b]) / (mass[a] + mass[b])
        mass[a] += mass[b]
        cluster[cluster == b] = a
        cost[b] = cost[:, b] = np.inf
        open_ = np.isfinite(cost[a])
        cost[a, open_] = cost[open_, a] = mass[a] * mass[open_] / (mass[a] + mass[open_]) * ((centres[open_] - centres[a]) ** 2).sum(1)
    return np.asarray(np.unique(cluster, return_inverse=True)[1], dtype=np.int64)


def by_cluster(table: Matrix, labels: Labels) -> Matrix:
    """Sums (B, B) of a ``table`` (M, M) over the clusters of rows and columns; ``labels`` (M,) are 0 to B - 1."""
    member = np.eye(int(labels.max()) + 1)[labels]
    return np.asarray(member.T @ table @ member)


def merge_order(pairs: Matrix, leaf_of_code: Labels, class_of_leaf: Labels) -> Labels:
    """Joins of leaves (F - 1, 2) by normalised co-occurrence P(a, b) / sqrt(P(a) P(b)), largest first, inside classes first.

    Of the usual normalisations it is the one of the spectrum. Dividing by P(a) P(b) would join small clusters only, by the
    smaller of the two would let one large cluster take all.
    """
    leaves = len(class_of_leaf)
    joint, nodes, classes = by_cluster(pairs, leaf_of_code), list(range(leaves)), class_of_leaf.copy()
    merges: list[tuple[int, int]] = []
    while len(nodes) > 1:
        mass = joint.sum(1)
        affinity = joint / np.sqrt(np.outer(mass, mass))
        affinity[np.tril_indices(len(nodes))] = -np.inf
        same = (classes[:, None] == classes[None]) & np.isfinite(affinity)
        if same.any():
            affinity[~same] = -np.inf
        a, b = (int(i) for i in np.unravel_index(affinity.argmax(), affinity.shape))
        merges.append((nodes[a], nodes[b]))
        joint[a] += joint[b]
        joint[:, a] += joint[:, b]
        joint, classes = np.delete(np.delete(joint, b, 0), b, 1), np.delete(classes, b)
        nodes[a] = leaves + len(merges) - 1
        del nodes[b]
    return np.array(merges, dtype=np.int64).reshape(-1, 2)
