"""The fit of a bridge in closed form, from patches and sentence vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import adaptive_avg_pool2d, normalize

from models.text.bridge import Bridge, Calibration

CELLS = 8
"""Patches of an image are averaged into a grid of this side, so that every image weighs the same."""
RIDGE = 3e-5
NEIGHBOURS = 10
PATCH_ANCHORS = 512
BROADER_WEIGHT = 0.5
BROADER = 2
UNKNOWN = Calibration(temperature=1.0, threshold=0.0, rejection=0.0, acceptance=0.0)


@dataclass(frozen=True)
class Material:
    """Patches and texts of n images.

    Attributes:
        cells: (n, p, C) float32, mean unit tokens of the cells of each image.
        texts: (n, D) sentence vectors of what each shows, its broader names mixed in.
        names: (n,) index of each image's name in ``vocabulary``.
        vocabulary: (w, D) unit sentence vectors of the names alone.
    """

    cells: torch.Tensor
    texts: torch.Tensor
    names: npt.NDArray[np.int64]
    vocabulary: torch.Tensor

    def subset(self, rows: npt.NDArray[np.int64]) -> Material:
        """The images ``rows``; the vocabulary stays whole."""
        return Material(self.cells[rows], self.texts[rows], self.names[rows], self.vocabulary)


def cells_of(tokens: npt.NDArray[np.float16], grid: tuple[int, int]) -> torch.Tensor:
    """Mean unit tokens (`CELLS`², C) of an image's tokens (h*w, C)."""
    unit = normalize(torch.from_numpy(tokens.astype(np.float32)), dim=1)
    cells: torch.Tensor = adaptive_avg_pool2d(unit.T.reshape(1, -1, *grid), CELLS)[0].flatten(1).T
    return cells


def mixed_texts(vocabulary: torch.Tensor, names: npt.NDArray[np.int64], broader: Sequence[torch.Tensor | None]) -> torch.Tensor:
    """Sentence vectors (n, D): the name's, and with half its weight the mean of its broader names (m, D); its own again where there are none."""
    own = vocabulary[torch.from_numpy(names)]
    wide = torch.stack([normalize(more.mean(0), dim=0) if more is not None else name for more, name in zip(broader, own, strict=True)])
    return normalize(own + BROADER_WEIGHT * wide, dim=1)


def fit_bridge(material: Material, *, backbone: str, sentences: str, templates: tuple[str, ...], calibration: Calibration = UNKNOWN, seed: int = 0) -> Bridge:
    """The bridge by which each patch predicts, with least squares and a ridge, the centred sentence vector of its image's name.

    ``W = (XᵀX / N + ridge · I)⁻¹ XᵀY / N`` over the N cells of all images, X their centred unit tokens, Y the unit vectors of their texts.
    """
    count, cells, channels = material.cells.shape
    mean = material.cells.mean((0, 1))
    unit = normalize(material.cells - mean, dim=2)
    text_mean = material.texts.mean(0)
    targets = normalize(material.texts - text_mean, dim=1)
    flat = unit.reshape(-1, channels)
    second = flat.T @ flat / len(flat)
    cross = unit.sum(1).T @ targets / (count * cells)
    patch_map = torch.linalg.solve(second + RIDGE * torch.eye(channels), cross)
    pooled = normalize((material.cells.mean(1) - mean) @ patch_map, dim=1)
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:PATCH_ANCHORS])
    known = np.unique(material.names)
    words = normalize(material.vocabulary[torch.from_numpy(known)] - text_mean, dim=1)
    anchors = pooled[torch.from_numpy(chosen)]
    return Bridge(backbone, sentences, templates, mean, patch_map, text_mean, anchors, words, NEIGHBOURS, calibration)
