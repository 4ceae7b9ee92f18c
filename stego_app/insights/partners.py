"""Partners: the most similar patches in *other* images, and what they say about classes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

PARTNERS = 10
"""Partners looked at for each patch: enough to tell a habit from an accident."""


class Partners(NamedTuple):
    """``nearest`` (n, p) patches of other images, most similar first; ``cosine`` (n,) with the first of them, -1 where there is no other image."""

    nearest: npt.NDArray[np.int64]
    cosine: npt.NDArray[np.float64]


def find_partners(tokens: npt.NDArray[np.float32], files: npt.NDArray[np.int64], count: int = PARTNERS, chunk: int = 2048) -> Partners:
    """The most similar of ``tokens`` in other files, for each.

    Args:
        tokens: (n, D) unit rows.
        files: (n,) number of the file each comes from.
        count: partners a patch; fewer where the other files have fewer patches. With a single file there are none.
        chunk: rows at a time, which bounds memory.
    """
    others = len(files) - int(np.bincount(files).max())
    count = min(count, others)
    nearest = np.zeros((len(tokens), count), dtype=np.int64)
    cosine = np.full(len(tokens), -1.0)
    if count == 0:
        return Partners(nearest, cosine)
    for start in range(0, len(tokens), chunk):
        rows = slice(start, start + chunk)
        similarity = tokens[rows] @ tokens.T
        similarity[files[rows, None] == files[None]] = -np.inf
        found = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(similarity, found, 1), axis=1, kind="stable")
        nearest[rows] = np.take_along_axis(found, order, 1)
        cosine[rows] = np.take_along_axis(similarity, nearest[rows][:, :1], 1)[:, 0]
    return Partners(nearest, cosine)


def class_affinity(labels: npt.NDArray[np.int64], nearest: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float64]:
    """How much classes are each other's partners: (K, K), 1 on the diagonal.

    With J(a, b) how often a patch of a has a partner in b, both ways, it is J(a, b) / sqrt(J(a, a) J(b, b)). Two parts of
    one class, divided at random in any proportion, have 1; classes that never are partners have 0. A class without a
    partner of its own kind has 0 with all others.
    """
    joint = np.zeros((classes, classes))
    np.add.at(joint, (np.repeat(labels, nearest.shape[1]), labels[nearest].ravel()), 1)
    joint = joint + joint.T
    own = np.sqrt(np.outer(np.diag(joint), np.diag(joint)))
    found = np.divide(joint, own, out=np.zeros_like(joint), where=own > 0)
    np.fill_diagonal(found, 1)
    return found


def linked_share(cosine: npt.NDArray[np.float64], threshold: float) -> float:
    """Share of patches whose best partner is at least as similar as two views of one and the same point are."""
    return float((cosine >= threshold).mean())
