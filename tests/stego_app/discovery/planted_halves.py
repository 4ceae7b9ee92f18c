"""Halves of images with planted correspondences."""

from __future__ import annotations

import numpy as np

from stego_app.discovery.correspondences import pair_distribution
from stego_app.discovery.halves import Half, Split
from stego_app.discovery.pairs import Pairs
from stego_app.discovery.spectral import Matrix


def split_of(first: Matrix, second: Matrix) -> Split:
    """Two halves with these counts (M, M) of correspondences; both show every code, and each code has a patch in each of ten images."""
    codes = np.arange(len(first))
    together = np.full(first.shape, 1 / first.size)
    halves = [Half(counts, Pairs(pair_distribution(counts, np.zeros_like(counts), 0), together), codes) for counts in (first, second)]
    return Split(halves[0], halves[1], np.repeat(codes, 10), np.tile(np.arange(10), len(codes)))
