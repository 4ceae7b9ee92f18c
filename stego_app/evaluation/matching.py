"""Which cluster stands for which class, decided on the counts of the whole set."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

UNMATCHED = -1


def hungarian(histogram: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """One-to-one matching that makes the most pixels right (Kuhn 1955; STEGO, section 4: on the whole validation set).

    Args:
        histogram: (clusters, classes) counts.

    Returns:
        (clusters,) int64: the class of each cluster, or `UNMATCHED` for what is left over where there are more clusters
        than classes. Where there are fewer, some classes have no cluster.
    """
    rows, columns = linear_sum_assignment(histogram, maximize=True)
    matching = np.full(len(histogram), UNMATCHED, dtype=np.int64)
    matching[rows] = columns
    return matching


def majority(histogram: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Many-to-one matching: (clusters,) int64, each cluster's most frequent class; `UNMATCHED` where a cluster is empty.

    It uses the labels more freely than `hungarian`, so its scores are higher and compare only with others of its kind.
    """
    return np.where(histogram.sum(axis=1) > 0, histogram.argmax(axis=1), UNMATCHED)
