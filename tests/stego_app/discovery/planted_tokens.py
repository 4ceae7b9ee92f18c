"""Made-up patches with known classes, and views of them that differ in a known nuisance direction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from stego_app.discovery import CropPairs

DIM = 16
GRID = (6, 8)


@dataclass
class PlantedSource:
    """Tokens in memory: ``features`` one (h·w, C) array an entry."""

    features: list[npt.NDArray[np.float32]]
    paths: list[Path]
    shapes: list[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.features)

    def grid(self, index: int) -> tuple[int, int]:
        return self.shapes[index]

    def tokens(self, index: int) -> npt.NDArray[np.float32]:
        return self.features[index]

    def sample(self, n_tokens: int, seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        everything = np.concatenate(self.features)
        owner = np.repeat(np.arange(len(self)), [len(tokens) for tokens in self.features])
        chosen = np.random.default_rng(seed).permutation(len(everything))[:n_tokens]
        return everything[chosen], owner[chosen]


def source_of(features: list[npt.NDArray[np.float32]]) -> PlantedSource:
    """A source in which each entry is an image of its own."""
    return PlantedSource(features, [Path(f"image{number}.png") for number in range(len(features))], [GRID] * len(features))


def planted(images: int, classes: int, seed: int = 0, noise: float = 0.05) -> tuple[PlantedSource, npt.NDArray[np.int64], CropPairs]:
    """Images whose columns of patches belong to classes; each image is shifted along a nuisance direction ("day" or "dusk").

    Returns:
        the source, the class of each patch (images, h·w), and pairs that differ along the nuisance and by noise.
    """
    random = np.random.default_rng(seed)
    basis = np.linalg.qr(random.normal(size=(DIM, DIM)))[0]
    directions, nuisance = basis[:classes], basis[-1]
    height, width = GRID
    features, truth = [], []
    for number in range(images):
        columns = np.sort(random.permutation(np.repeat(np.arange(classes), -(-width // classes)))[:width])
        label = np.tile(columns, height)
        tokens = directions[label] + (1.0 if number % 2 else -1.0) * nuisance + noise * random.normal(size=(height * width, DIM))
        features.append((3 * tokens).astype(np.float32))
        truth.append(label)
    return source_of(features), np.array(truth), planted_pairs(directions, nuisance, noise, random)


def planted_pairs(directions: npt.NDArray[np.float64], nuisance: npt.NDArray[np.float64], noise: float, random: np.random.Generator) -> CropPairs:
    """Views of 600 points: same class, another nuisance, fresh noise."""
    label = random.integers(len(directions), size=600)
    views = [
        torch.nn.functional.normalize(
            torch.from_numpy(directions[label] + random.choice([-1.0, 1.0], size=(600, 1)) * nuisance + noise * random.normal(size=(600, DIM))).float(), dim=1
        )
        for _ in range(2)
    ]
    return CropPairs(views[0], views[1])
