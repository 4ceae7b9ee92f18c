"""Colours for classes: deterministic, well apart also for colour-blind eyes, and readable over photos."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Linear RGB to cone responses and on to OKLab (Ottosson 2020, "A perceptual color space for image processing").
_TO_CONES = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566], [0.0883024619, 0.2817188376, 0.6299787005]])
_TO_OKLAB = np.array([[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099], [0.0259040371, 0.7827717662, -0.8086757660]])
# Full protanopia and deuteranopia in linear RGB (Machado, Oliveira & Fernandes 2009, table 1, severity 1.0).
_PROTAN = np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]])
_DEUTAN = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]])
COLOR_BLIND_WEIGHT = 0.6
"""A distance seen by colour-blind eyes need only be this share of the others: few colours are far apart for all eyes."""

_FIRST = (0, 114, 178)
MAX_COLORS = 255


def palette(count: int) -> npt.NDArray[np.uint8]:
    """``count`` colours (count, 3) uint8; the first k of them are `palette(k)`, so a class keeps its colour.

    Each colour is the one farthest from all before it (OKLab distance, the smallest over usual, protan and deutan
    vision), among saturated ones that are neither near black, white nor grey, since photos are full of those.

    Raises:
        ValueError: ``count`` is negative.
    """
    if count < 0:
        raise ValueError(f"{count} colours: expected 0 or more")
    rows = np.arange(count) % MAX_COLORS
    return _farthest_first()[rows].copy()


@lru_cache(maxsize=1)
def _farthest_first() -> npt.NDArray[np.uint8]:
    steps = np.linspace(0, 255, 18).round()
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = oklab(grid)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    usable = (lab[:, 0] > 0.42) & (lab[:, 0] < 0.93) & (chroma > 0.1)
    candidates = np.concatenate([np.array([_FIRST], dtype=np.float64), grid[usable]])
    seen = [oklab(candidates)] + [oklab(candidates, view) / COLOR_BLIND_WEIGHT for view in (_PROTAN, _DEUTAN)]
    nearest = np.full(len(candidates), np.inf)
    chosen = [0]
    for _ in range(MAX_COLORS - 1):
        apart = np.min([np.linalg.norm(view - view[chosen[-1]], axis=1) for view in seen], axis=0)
        nearest = np.minimum(nearest, apart)
        chosen.append(int(np.argmax(nearest)))
    return candidates[chosen].astype(np.uint8)


def oklab(colors: Floats, vision: Floats | None = None) -> Floats:
    """sRGB colours (n, 3) in 0 to 255 as OKLab (n, 3), seen through a linear-RGB matrix of colour blindness if given."""
    scaled = np.asarray(colors, dtype=np.float64) / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    if vision is not None:
        linear = np.clip(linear @ vision.T, 0, 1)
    lab: Floats = np.cbrt(linear @ _TO_CONES.T) @ _TO_OKLAB.T
    return lab
