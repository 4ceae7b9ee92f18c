"""k-NN classification of whole images by the similarity of frozen features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stego_app.features.similar import most_similar

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

NEIGHBOURS, TEMPERATURE = 20, 0.07


def knn_predict(train: Floats, labels: Indices, queries: Floats, classes: int, *, neighbours: int = NEIGHBOURS, temperature: float = TEMPERATURE) -> Indices:
    """Class (n,) of ``queries`` (n, C): each of the nearest training images votes with weight exp(similarity / temperature).

    Wu et al. 2018 (Instance discrimination, section 3.4), as DINO uses it (Caron et al. 2021: k = 20, τ = 0.07).

    Args:
        train: (N, C) unit rows.
        labels: (N,) 0 to ``classes`` - 1.
        queries: (n, C) unit rows.
        classes: K.
        neighbours: k, or N if that is less.
        temperature: τ.
    """
    similarities, found = most_similar(queries, train, neighbours)
    weights = np.where(found >= 0, np.exp((similarities - similarities.max(axis=1, keepdims=True)) / temperature), 0)
    votes = np.zeros((len(queries), classes))
    np.add.at(votes, (np.arange(len(queries))[:, None], labels[found]), weights)
    said: Indices = votes.argmax(axis=1).astype(np.int64)
    return said
