"""A small lidar scan of a drawn street: ground, two walls and a few boxes, as rays of a sensor see them, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
GROUND, WALL, BOX = 40, 50, 10
"""Numbers of SemanticKITTI: road, building, car."""


def drawn_scan(seed: int, rings: int = 16, columns: int = 90) -> tuple[Floats, Floats, npt.NDArray[np.uint32]]:
    """Points (N, 3) m around the sensor at the origin, intensity (N,) in [0, 1] and labels (N,): what each ray meets first within 30 m."""
    rng = np.random.default_rng(seed)
    elevation, azimuth = np.meshgrid(np.radians(np.linspace(-24, 4, rings)), np.linspace(-np.pi, np.pi, columns, endpoint=False), indexing="ij")
    rays = np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], axis=-1).reshape(-1, 3)
    boxes = [(rng.uniform(4, 14) * rng.choice([-1, 1]), rng.uniform(2, 4) * rng.choice([-1, 1])) for _ in range(4)]
    distance, label = np.full(len(rays), 30.0), np.zeros(len(rays), np.uint32)
    with np.errstate(divide="ignore", invalid="ignore"):
        surfaces = [(-1.7 / rays[:, 2], GROUND, np.ones(len(rays), bool))]
        surfaces += [(side * 8 / rays[:, 1], WALL, np.ones(len(rays), bool)) for side in (-1, 1)]
        for x, y in boxes:
            reach = (abs(y) - 0.8) * np.sign(y) / rays[:, 1]
            place = rays * reach[:, None]
            surfaces.append((reach, BOX, (np.abs(place[:, 0] - x) < 2) & (place[:, 2] < -0.2)))
        for reach, number, there in surfaces:
            nearer = there & (reach > 0.5) & (reach < distance)
            distance[nearer], label[nearer] = reach[nearer], number
    seen = distance < 30
    points = (rays * distance[:, None])[seen] + rng.normal(0, 0.01, (int(seen.sum()), 3))
    light = np.select([label[seen] == GROUND, label[seen] == WALL], [0.2, 0.5], 0.9)
    return points.astype(np.float32), np.clip(light + rng.normal(0, 0.03, len(points)), 0, 1).astype(np.float32), label[seen]


def write_drawn_scan(path: Path, seed: int, *, labelled: bool = False) -> None:
    """The scan of ``seed`` as KITTI's ``.bin``, with a ``.label`` beside it if ``labelled``."""
    points, intensity, labels = drawn_scan(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.column_stack([points, intensity]).astype("<f4").tofile(path)
    if labelled:
        labels.astype("<u4").tofile(path.with_suffix(".label"))
