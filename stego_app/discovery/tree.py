"""The tree over fine clusters: its cut at the classes asked for gives exactly these; other cuts are nested in it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


class Tree(NamedTuple):
    """``leaf_of_code`` (M,) the fine cluster of each code; ``merges`` (F - 1, 2) in SciPy's numbering, in order of merging."""

    leaf_of_code: npt.NDArray[np.int64]
    merges: npt.NDArray[np.int64]


def build_tree(codes: Matrix, pairs: Matrix, labels: npt.NDArray[np.int64], fine: int) -> Tree:
    """Fine clusters inside the classes, then the classes themselves, merged two at a time.

    Inside a class, Ward's criterion on ``codes`` joins codes, then fine clusters, until each class is one node. Classes are
    then joined in the order of how often a correspondence that starts in one ends in the other, against chance.

    Args:
        codes: (M, E) position of each code; more dimensions than classes let fine clusters differ.
        pairs: (M, M) distribution of positive pairs, sums to 1.
        labels: (M,) class of each code, 0 to K - 1, all in use.
        fine: number of fine clusters, from K to M.
    """
    classes = int(labels.max()) + 1
    groups = _ward_within(codes, pairs.sum(1), labels, classes)
    kept = len(labels) - fine  # the first joins make fine clusters of codes; the rest belong to the tree
    leaf_of_code, node_of = _leaves(len(labels), groups[:kept])
    merges = [(node_of[a], node_of[b]) for a, b in _renumbered(groups[kept:], node_of, len(labels) + kept, fine)]
    class_nodes = _roots(merges, leaf_of_code, labels, fine, classes)
    merges += _between_classes(pairs, labels, class_nodes, fine + len(merges))
    return Tree(leaf_of_code, np.array(merges, dtype=np.int64).reshape(-1, 2))


def _ward_within(points: Matrix, weights: Matrix, labels: npt.NDArray[np.int64], classes: int) -> list[tuple[int, int]]:
    """Joins (SciPy's numbering over codes) by weighted Ward linkage, never across classes, until each class is one node."""
    count = len(points)
    centres, mass, node = points.copy(), weights.copy(), np.arange(count)
    squares = ((centres[:, None] - centres[None]) ** 2).sum(2)
    cost = mass[:, None] * mass[None] / (mass[:, None] + mass[None]) * squares
    cost[labels[:, None] != labels[None]] = np.inf
    np.fill_diagonal(cost, np.inf)
    joins: list[tuple[int, int]] = []
    for step in range(count - classes):
        a, b = sorted(int(i) for i in np.unravel_index(cost.argmin(), cost.shape))
        joins.append((int(node[a]), int(node[b])))
        centres[a] = (mass[a] * centres[a] + mass[b] * centres[b]) / (mass[a] + mass[b])
        mass[a] += mass[b]
        node[a] = count + step
        cost[b] = cost[:, b] = np.inf
        alive = np.isfinite(cost[a])
        fresh = mass[a] * mass[alive] / (mass[a] + mass[alive]) * ((centres[alive] - centres[a]) ** 2).sum(1)
        cost[a, alive] = cost[alive, a] = fresh
    return joins


def _leaves(count: int, joins: list[tuple[int, int]]) -> tuple[npt.NDArray[np.int64], dict[int, int]]:
    """Fine cluster of each code after the first ``joins``, numbered by first code; and the leaf that each remaining node is."""
    members = {code: [code] for code in range(count)}
    for step, (a, b) in enumerate(joins):
        members[count + step] = members.pop(a) + members.pop(b)
    leaf_of_code = np.empty(count, dtype=np.int64)
    leaf_of_node: dict[int, int] = {}
    for leaf, (node, codes) in enumerate(sorted(members.items(), key=lambda item: min(item[1]))):
        leaf_of_code[codes] = leaf
        leaf_of_node[node] = leaf
    return leaf_of_code, leaf_of_node


def _renumbered(joins: list[tuple[int, int]], node_of: dict[int, int], first: int, fine: int) -> list[tuple[int, int]]:
    """Extend ``node_of`` so that join i of ``joins``, node ``first`` + i over codes, is node ``fine`` + i over leaves."""
    for step in range(len(joins)):
        node_of[first + step] = fine + step
    return joins


def _roots(merges: list[tuple[int, int]], leaf_of_code: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], fine: int, classes: int) -> list[int]:
    """The node that is each class once all joins inside classes are done."""
    parent = {child: fine + row for row, pair in enumerate(merges) for child in pair}
    nodes: list[int] = []
    for label in range(classes):
        node = int(leaf_of_code[np.flatnonzero(labels == label)[0]])
        while node in parent:
            node = parent[node]
        nodes.append(node)
    return nodes


def _between_classes(pairs: Matrix, labels: npt.NDArray[np.int64], nodes: list[int], following: int) -> list[tuple[int, int]]:
    """Joins of classes by the lift of their co-occurrence: P(a, b) / (P(a) P(b)), largest first."""
    classes = len(nodes)
    member = np.eye(classes)[labels]
    joint, nodes = member.T @ pairs @ member, list(nodes)
    merges: list[tuple[int, int]] = []
    while len(nodes) > 1:
        mass = joint.sum(1)
        lift = joint / np.outer(mass, mass)
        lift[np.tril_indices(len(nodes))] = -np.inf
        a, b = (int(i) for i in np.unravel_index(lift.argmax(), lift.shape))
        merges.append((nodes[a], nodes[b]))
        joint[a] += joint[b]
        joint[:, a] += joint[:, b]
        joint = np.delete(np.delete(joint, b, 0), b, 1)
        nodes[a] = following + len(merges) - 1
        del nodes[b]
    return merges
