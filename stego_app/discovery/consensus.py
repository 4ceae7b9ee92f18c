"""One answer from several draws: the classes of the draw that the others agree with most, and each code's by the votes of all.

The draw that is kept is the medoid of partitions by the adjusted Rand index (Hubert & Arabie 1985): it needs no labels, and lies closer
to what all draws share than any one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

from stego_app.discovery.tree import Labels


def medoid(partitions: Sequence[Labels]) -> int:
    """Index of the partition with the highest mean adjusted Rand index with the others; the first of equals.

    Args:
        partitions: each (n,), the class of the same n patches.
    """
    table = np.array([[adjusted_rand_score(first, second) for second in partitions] for first in partitions])
    return int(table.sum(1).argmax())


def voted(partitions: Sequence[Labels], kept: int, labels: Labels, codes: Labels) -> Labels:
    """The class (M,) of each code of one draw that most of its patches have, counted over all draws.

    Draws differ in what lies between classes, each by chance: their votes differ less from one set of draws to the next than
    any of them. A class of another draw votes for the kept draw's class with which it has most in common, one to one (Hungarian,
    on the cosine of what they share; the voting of Dudoit & Fridlyand 2003). ``labels`` stay where a class would lose all its codes.

    Args:
        partitions: each (n,), the class 0 to K - 1 of the same n patches, one for each draw.
        kept: the draw whose codes they are.
        labels: (M,) its own class of each code.
        codes: (n,) its code of each patch.
    """
    classes = int(labels.max()) + 1
    votes = np.zeros((len(labels), classes))
    votes[np.arange(len(labels)), labels] = 0.5  # a tie, or a code without a patch, stays as it is
    for partition in partitions:
        shared = np.bincount(partition * classes + partitions[kept], minlength=classes**2).reshape(classes, classes)
        sizes = np.sqrt(np.outer(shared.sum(1), shared.sum(0)))
        _, counterpart = linear_sum_assignment(-shared / np.maximum(sizes, 1))
        votes += np.bincount(codes * classes + counterpart[partition], minlength=votes.size).reshape(votes.shape)
    found = votes.argmax(1)
    return found if len(np.unique(found)) == classes else labels
