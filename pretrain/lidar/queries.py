"""Questions that a ray answers: it flew through free space up to its hit, and something is just behind the hit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
UNKNOWN = -1.0
"""Intensity of a query that none is known of."""


class Queries(NamedTuple):
    """Places in space and what is there.

    Attributes:
        points: (Q, 3) float32 m.
        full: (Q,) bool.
        intensity: (Q,) float32 in [0, 1] of the hit that a query lies at; `UNKNOWN` where it lies in free space anywhere on the ray.
    """

    points: Floats
    full: npt.NDArray[np.bool_]
    intensity: Floats


def ray_queries(points: Floats, intensity: Floats, origin: Floats, rays: int, offset: float, rng: np.random.Generator) -> Queries:
    """Three queries on each of up to ``rays`` rays (Boulch et al. 2023, section 3.2).

    With the hit p, its distance r from the sensor, the direction d to it, and u, v uniform in [0, 1): ``p + offset·u·d`` is full, ``p - offset·u·d``
    (another u) is empty, ``p - v·r·d`` is empty. Hits nearer than ``offset`` m are no rays.

    Args:
        points: (N, 3) m.
        intensity: (N,) in [0, 1].
        origin: (3,) m, the sensor.
        rays: how many points are drawn.
        offset: largest distance from the hit, in m.
        rng: of the draws.

    Returns:
        queries in the order behind, in front, along: a third each.
    """
    towards = points - origin
    distance = np.linalg.norm(towards, axis=1)
    usable = np.flatnonzero(distance > offset)
    drawn = rng.permutation(usable)[:rays]
    hits, reach = points[drawn], distance[drawn, None]
    direction = towards[drawn] / reach
    near, far, along = (rng.random((len(drawn), 1), dtype=np.float32) for _ in range(3))
    places = np.concatenate([hits + offset * near * direction, hits - offset * far * direction, hits - along * reach * direction])
    known = np.concatenate([intensity[drawn], intensity[drawn], np.full(len(drawn), UNKNOWN, np.float32)])
    return Queries(places.astype(np.float32), np.arange(3 * len(drawn)) < len(drawn), known.astype(np.float32))
