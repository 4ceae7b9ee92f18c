"""Halves of images with planted correspondences."""

from __future__ import annotations

import numpy as np

from stego_app.discovery.correspondences import pair_distribution
from stego_app.discovery.halves import Half, Split
from stego_app.discovery.spectral import Matrix, spectrum


def split_of(first: Matrix, second: Matrix) -> Split:
    """Two halves with these counts (M, M) of correspondences; both show every code, and each code has ten patches."""
    codes = np.arange(len(first))
    halves = []
    for counts in (first, second):
        pairs = pair_distribution(counts, np.zeros_like(counts), 0)
        halves.append(Half(counts, pairs, spectrum(pairs), codes))
    return Split(halves[0], halves[1], np.repeat(codes, 10))
