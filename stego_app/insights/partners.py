"""What the partners of patches (`stego_app.partners`) say about classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PARTNERS = 10
"""Partners looked at for each patch: enough to tell a habit from an accident."""


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
