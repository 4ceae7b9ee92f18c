"""PCA whitening learnt on the pool itself: what all its images share stops drowning what tells them apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

FLOOR = 0.1
"""Added to each variance, as a share of their mean over the components kept: directions of hardly any variance are noise and must not be blown up."""
SAMPLE = 4096
"""Rows to learn it from, at most."""
_NO_VARIANCE = 1e-10


@dataclass(frozen=True)
class Whitening:
    """``unit((unit(x) - mean) @ matrix)``: mean (C,), matrix (C, D), float32."""

    mean: Floats
    matrix: Floats

    def __call__(self, rows: npt.NDArray[np.floating]) -> Floats:
        """Unit rows (n, D) of rows (n, C)."""
        return unit((unit(rows) - self.mean) @ self.matrix)


def unit(rows: npt.NDArray[np.floating]) -> Floats:
    """(n, C) float32 with each row of length 1; rows of zeros stay."""
    rows = rows.astype(np.float32)
    scaled: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return scaled


def fit_whitening(rows: npt.NDArray[np.floating], components: int) -> Whitening:
    """Whitening to the largest ``components`` principal components, at most half as many as there are rows.

    With few rows each would get a direction of its own, and all be equally unlike: half as many leaves them comparable.
    The use of whitened similarities for copies follows Pizzi et al. 2022 (SSCD, section 3.4: similarity of descriptors
    is calibrated by whitening on a background set; here the pool is its own background).

    Args:
        rows: (n, C); scaled to unit length first.
        components: D, at most.
    """
    scaled = unit(rows)
    mean = scaled.mean(axis=0)
    centred = (scaled - mean).astype(np.float64)
    count, channels = centred.shape
    kept = max(1, min(components, channels, count // 2))
    if count < channels:  # the smaller of the two matrices has the same eigenvalues
        variances, left = np.linalg.eigh(centred @ centred.T / max(1, count - 1))
        variances, left = variances[::-1][:kept], left[:, ::-1][:, :kept]
        directions = centred.T @ left
        directions /= np.maximum(np.linalg.norm(directions, axis=0), np.finfo(np.float64).tiny)
    else:
        variances, directions = np.linalg.eigh(centred.T @ centred / max(1, count - 1))
        variances, directions = variances[::-1][:kept], directions[:, ::-1][:, :kept]
    variances = np.maximum(variances, 0)
    floored = variances + FLOOR * variances.mean()
    alike = floored < _NO_VARIANCE  # rows that are all the same have no direction to be told apart by
    scale = np.where(alike, 0, 1 / np.sqrt(np.where(alike, 1, floored)))
    return Whitening(mean, (directions * scale).astype(np.float32))
