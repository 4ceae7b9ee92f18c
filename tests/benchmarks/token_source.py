"""Patch tokens in memory, for peers that are fitted to a feature cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Tokens:
    """Images (h·w, C) on one grid."""

    images: list[npt.NDArray[np.float32]]
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def keys(self) -> list[str]:
        return [str(number) for number in range(len(self.images))]

    @property
    def paths(self) -> list[Path]:
        return [Path(key) for key in self.keys]

    def grid(self, index: int) -> tuple[int, int]:  # noqa: ARG002
        return self.shape

    def tokens(self, index: int) -> npt.NDArray[np.float32]:
        return self.images[index]

    def sample(self, n_tokens: int, seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        stacked = np.concatenate(self.images)
        owner = np.repeat(np.arange(len(self.images)), [len(image) for image in self.images])
        chosen = np.random.default_rng(seed).permutation(len(stacked))[:n_tokens]
        return stacked[chosen], owner[chosen]


def regions(images: int, shape: tuple[int, int], classes: int, dim: int, noise: float, seed: int) -> tuple[Tokens, list[npt.NDArray[np.int64]]]:
    """Images of vertical stripes of ``classes`` orthogonal directions in random order, with noise; and the class of each patch."""
    random = np.random.default_rng(seed)
    directions = np.linalg.qr(random.normal(size=(dim, dim)))[0][:classes].astype(np.float32)
    tokens, labels = [], []
    for _ in range(images):
        order = random.permutation(classes)
        label = np.repeat(order[np.arange(shape[1]) * classes // shape[1]][None], shape[0], axis=0).ravel()
        tokens.append((directions[label] + random.normal(0, noise, (len(label), dim))).astype(np.float32))
        labels.append(label.astype(np.int64))
    return Tokens(tokens, shape), labels


def best_accuracy(said: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], classes: int) -> float:
    """Share of patches right under the best one-to-one naming, by trying all of them."""
    from itertools import permutations

    return max(float((np.array(naming)[said] == labels).mean()) for naming in permutations(range(classes)))
