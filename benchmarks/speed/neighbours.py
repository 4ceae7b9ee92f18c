"""Nearest images beside faiss alone."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np

from benchmarks.speed.row import Row, race
from stego_app.features.neighbours import nearest_images

COUNT, WIDTH, NEAREST = 50_000, 384, 7


def neighbours(images: Path | None, rounds: int) -> Row:  # noqa: ARG001 - random vectors do
    """Exact neighbours of random unit vectors, each without itself."""
    vectors = np.random.default_rng(0).standard_normal((COUNT, WIDTH), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def alone() -> np.ndarray:
        index = faiss.IndexFlatIP(WIDTH)
        index.add(vectors)
        found: np.ndarray = index.search(vectors, NEAREST + 1)[1]
        return found

    laps = race({"ours": lambda: nearest_images(vectors, NEAREST), "faiss": alone}, rounds, warm=False)
    same = (np.asarray(laps["ours"].result) == np.asarray(laps["faiss"].result)[:, 1:]).mean()
    what = f"{NEAREST} nearest of {COUNT:,} × {WIDTH} / one call of faiss' flat index"
    return Row("neighbours", what, laps["ours"].processor, laps["faiss"].processor, 1, f"{100 * same:.2f} % equal")
