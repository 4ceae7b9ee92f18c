"""Partners: for each patch, the patches of other images that look most like it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch


class Partners(NamedTuple):
    """``nearest`` (n, p) patches of other images, most similar first; ``cosine`` (n,) with the first of them, -1 where there is no other image."""

    nearest: npt.NDArray[np.int64]
    cosine: npt.NDArray[np.float64]


def find_partners(tokens: torch.Tensor, images: npt.NDArray[np.int64], count: int, chunk: int = 1_000) -> Partners:
    """The patches with the largest cosine in other images, for each.

    Args:
        tokens: (n, D) unit rows.
        images: (n,) number of the image each comes from.
        count: partners a patch; fewer where the other images have fewer patches. With a single image there are none.
        chunk: rows at a time, which bounds memory.
    """
    count = min(count, len(images) - int(np.unique(images, return_counts=True)[1].max()))
    if count == 0:
        return Partners(np.zeros((len(tokens), 0), dtype=np.int64), np.full(len(tokens), -1.0))
    owner = torch.from_numpy(images)
    nearest, cosine = [], []
    for start in range(0, len(tokens), chunk):
        rows = slice(start, start + chunk)
        similarity = tokens[rows] @ tokens.T
        similarity[owner[rows, None] == owner[None]] = -torch.inf
        best = similarity.topk(count, dim=1)
        nearest.append(best.indices)
        cosine.append(best.values[:, 0])
    return Partners(torch.cat(nearest).numpy(), torch.cat(cosine).double().numpy())
