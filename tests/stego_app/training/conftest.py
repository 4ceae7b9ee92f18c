"""A cache of made-up features with known classes, small enough to train on in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from stego_app.features.cache import FeatureCache
from stego_app.features.shards import Block, read_entries, write_shard

GRID = (8, 10)
CLASSES = 3
DIM = 24
Truth = list[npt.NDArray[np.uint8]]


def clustered_features(images: int, seed: int) -> tuple[list[npt.NDArray[np.float32]], Truth]:
    """Tokens (h·w, C) and classes (h, w) of ``images`` images: three blocks of patches, each around its class's direction."""
    random = np.random.default_rng(seed)
    directions = np.linalg.qr(random.normal(size=(DIM, DIM)))[0][:CLASSES] + 0.3 / np.sqrt(DIM)
    tokens, truth = [], []
    for _ in range(images):
        label = np.zeros(GRID, np.uint8)
        label[random.integers(3, 6) :] = 1
        label[1:6, : random.integers(2, 6)] = 2
        noise = random.normal(scale=0.08, size=(GRID[0] * GRID[1], DIM))
        tokens.append((directions[label.reshape(-1)] + noise).astype(np.float32) * 5)
        truth.append(label)
    return tokens, truth


@pytest.fixture
def clustered_cache(tmp_path: Path) -> Callable[..., tuple[FeatureCache, Truth]]:
    """``clustered_cache(images=12, seed=0)`` gives a cache of clustered features and their classes."""

    def make(images: int = 12, seed: int = 0) -> tuple[FeatureCache, Truth]:
        tokens, truth = clustered_features(images, seed)
        blocks = []
        for number, features in enumerate(tokens):
            pooled = (features / np.linalg.norm(features, axis=1, keepdims=True)).mean(0)
            blocks.append(Block(f"image{number:03}", *GRID, features.astype(np.float16), (pooled / np.linalg.norm(pooled)).astype(np.float32)))
        folder = tmp_path / f"store-{images}-{seed}"
        write_shard(folder, "shard", blocks)
        entries = list(read_entries(folder).values())
        return FeatureCache(entries, [Path(entry.key) for entry in entries], [], DIM, 0), truth

    return make
