"""Spherical k-means: a codebook of unit vectors that stands for all patches."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize

_SAME = 1e-5
"""Squared distance under which two tokens count as one: about the rounding of half-precision tokens."""
_SEEDED_FROM = 8_000


def spherical_kmeans(tokens: torch.Tensor, size: int, random: np.random.Generator, iterations: int = 10, starts: int = 1) -> torch.Tensor:
    """Unit centroids (m, D) of unit ``tokens`` (n, D); m is ``size``, or fewer where there are fewer distinct tokens.

    Spherical k-means (Dhillon & Modha 2001), seeded by k-means++ (Arthur & Vassilvitskii 2007) on at most 8,000 tokens,
    then Lloyd's iterations on all. Of several ``starts`` the one is kept whose tokens are nearest to their centroids.
    """
    found = [_one_start(tokens, size, random, iterations) for _ in range(starts)]
    return max(found, key=lambda centroids: _total_cosine(tokens, centroids)) if starts > 1 else found[0]


def _one_start(tokens: torch.Tensor, size: int, random: np.random.Generator, iterations: int) -> torch.Tensor:
    centroids = _plus_plus(tokens[: max(_SEEDED_FROM, 4 * size)], size, random)
    for _ in range(iterations):
        codes = nearest_codes(tokens, centroids)
        sums = sum_by_code(tokens, codes, len(centroids))
        # The small part of the old centroid keeps an empty cluster where it was.
        centroids = normalize(sums + 1e-6 * centroids, dim=1)
    return centroids


def nearest_codes(tokens: torch.Tensor, codebook: torch.Tensor, chunk: int = 32_768) -> torch.Tensor:
    """Index (n,) of the centroid with the largest cosine."""
    return torch.cat([(part @ codebook.T).argmax(1) for part in torch.split(tokens, chunk)])


def _total_cosine(tokens: torch.Tensor, centroids: torch.Tensor, chunk: int = 32_768) -> float:
    return sum(float((part @ centroids.T).amax(1).double().sum()) for part in torch.split(tokens, chunk))


def sum_by_code(tokens: torch.Tensor, codes: torch.Tensor, size: int) -> torch.Tensor:
    """Sums (size, D) of the tokens of each code; added in order, so that the bits do not depend on threads."""
    order = np.argsort(codes.numpy(), kind="stable")
    present, starts = np.unique(codes.numpy()[order], return_index=True)
    sums = torch.zeros(size, tokens.shape[1])
    sums[torch.from_numpy(present)] = torch.from_numpy(np.add.reduceat(tokens.numpy()[order], starts, axis=0))
    return sums


def _plus_plus(tokens: torch.Tensor, size: int, random: np.random.Generator) -> torch.Tensor:
    chosen = [int(random.integers(len(tokens)))]
    distances = _distances(tokens, chosen[0])
    while len(chosen) < size and distances.max() > _SAME:
        cumulative = np.cumsum(distances, dtype=np.float64)
        pick = int(np.searchsorted(cumulative, random.random() * cumulative[-1], side="right"))
        chosen.append(min(pick, len(tokens) - 1))
        distances = np.minimum(distances, _distances(tokens, chosen[-1]))
    return tokens[chosen].clone()


def _distances(tokens: torch.Tensor, index: int) -> npt.NDArray[np.float32]:
    distances: npt.NDArray[np.float32] = (1 - tokens @ tokens[index]).clamp(min=0).numpy()
    distances[distances <= _SAME] = 0  # a token is never chosen twice, nor its double
    return distances
