"""The images in two halves, so that what is found in one can be checked on the other.

Half of a small set shows only some of the codes. A division found there is carried to the others as it would be to the patches
of a new image: each code that the half lacks goes with the one it shows that is most like it. Without that, whatever the other half
shows and this one lacks would be divided at random, and few images would seem to confirm nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from stego_app.discovery.correspondences import pair_distribution
from stego_app.discovery.pairs import Pairs
from stego_app.discovery.spectral import Matrix
from stego_app.discovery.tree import Labels


class Half(NamedTuple):
    """What one half of the images shows.

    ``cross`` (M, M): its correspondences between images; ``pairs``: of the S codes that it shows; ``carry`` (M,): which of the S
    stands for each code.
    """

    cross: Matrix
    pairs: Pairs
    carry: Labels


class Split(NamedTuple):
    """Both halves, and the patches on which divisions are compared: the code (n,) and the number of the image (n,) of each."""

    first: Half
    second: Half
    codes: Labels
    images: Labels

    @property
    def shown(self) -> int:
        """How many codes the half that shows fewer of them does."""
        return min(self.first.pairs.size, self.second.pairs.size)


def half_of(cross: Matrix, adjacent: Matrix, same_image: Matrix, adjacent_weight: float, shown: npt.NDArray[np.bool_], book: torch.Tensor) -> Half:
    """A half of the images.

    Args:
        cross: (M, M) correspondences counted among its patches.
        adjacent: (M, M) correspondences of adjacent patches, counted in its images.
        same_image: (M, M) distribution of pairs of patches of one of its images.
        adjacent_weight: weight of ``adjacent``.
        shown: (M,) whether the half has a patch of each code.
        book: (M, D) unit.
    """
    codes = np.flatnonzero(shown)
    among = np.ix_(codes, codes)
    joint = pair_distribution(cross[among], adjacent[among], adjacent_weight)
    together = same_image[among] / max(same_image[among].sum(), np.finfo(np.float64).tiny)
    carry = np.asarray((book @ book[torch.from_numpy(codes)].T).argmax(1).numpy(), dtype=np.int64)
    return Half(cross, Pairs(joint, together), carry)
