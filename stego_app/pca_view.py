"""Patch features as colours: their principal components, joint over several images, so that a colour means the same in all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.patch_features import PatchFeatures

_TAIL = 1.0  # per cent of the patches at either end that a few outliers may not stretch the colours beyond


@dataclass(frozen=True)
class PrincipalComponents:
    """``mean`` (C,), ``directions`` (k, C) orthonormal rows by falling variance, ``shares`` (k,) of the whole variance."""

    mean: npt.NDArray[np.float64]
    directions: npt.NDArray[np.float64]
    shares: npt.NDArray[np.float64]


def principal_components(values: npt.NDArray[np.float32], count: int) -> PrincipalComponents:
    """The first ``count`` principal components of the rows of ``values`` (n, C), from the covariance matrix.

    A direction and its opposite are equally good: the one whose largest entry is positive is taken.

    Raises:
        StegoError: fewer than two rows, or more components than the rows can have.
    """
    rows, width = values.shape
    if rows < 2 or not 1 <= count <= min(rows, width):
        raise StegoError(f"{count} components of {rows} patches with {width} features: expected 1 to {min(rows, width)} components of two or more patches")
    mean = values.mean(axis=0, dtype=np.float64)
    centred = values.astype(np.float64) - mean
    variances, vectors = np.linalg.eigh(centred.T @ centred / (rows - 1))
    largest = vectors[:, ::-1][:, :count].T
    signs = np.sign(largest[np.arange(count), np.abs(largest).argmax(axis=1)])
    total = max(float(variances.sum()), np.finfo(np.float64).tiny)
    return PrincipalComponents(mean, largest * signs[:, None], np.maximum(variances[::-1][:count], 0) / total)


@dataclass(frozen=True)
class PcaView:
    """A picture (h, w, 3) uint8 for each image, and ``share`` of the variance that its three colours show, 0 to 1."""

    pictures: list[npt.NDArray[np.uint8]]
    share: float


def pca_view(images: Sequence[PatchFeatures], first: int = 0) -> PcaView:
    """Three components as red, green and blue, on the patch grid of each image.

    The components are those of the patches of all ``images`` together, and each colour is stretched over the middle
    98 % of them.

    Args:
        images: features of the same space.
        first: 0 shows the three largest components, 3 those that follow, and so on.

    Raises:
        StegoError: too few patches for that many components.
    """
    together = np.concatenate([image.values for image in images])
    basis = principal_components(together, first + 3)
    directions = basis.directions[first:]
    scores = (together - basis.mean) @ directions.T
    low, high = np.percentile(scores, [_TAIL, 100 - _TAIL], axis=0)
    # Where all patches are alike there is nothing to stretch: everything stays in the middle.
    colors = np.where(high > low, (scores - low) / np.where(high > low, high - low, 1), 0.5)
    levels = np.rint(np.clip(colors, 0, 1) * 255).astype(np.uint8)
    ends = np.cumsum([len(image.values) for image in images])[:-1]
    pictures = [part.reshape(*image.grid, 3) for part, image in zip(np.split(levels, ends), images, strict=True)]
    return PcaView(pictures, float(basis.shares[first:].sum()))
