"""A sparse 3-D U-Net: from points to a feature for each point.

The shape of Choy et al., "4D Spatio-Temporal ConvNets: Minkowski Convolutional Neural Networks", CVPR 2019 (figure 4), smaller: residual blocks of
submanifold 3³ convolutions, 2³ convolutions of stride 2 down, their transposes up, skips by concatenation.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import relu

from models.lidar.convolution import SparseConvolution
from models.lidar.voxels import Pairs, Voxels, coarser, coordinates_of, neighbours, voxel_means, voxelise


class Level(NamedTuple):
    """The voxels of one resolution: keys (V,), their neighbours, and pairs from the next finer level (none at the finest)."""

    keys: torch.Tensor
    beside: list[Pairs]
    down: list[Pairs]


def build_levels(keys: torch.Tensor, count: int) -> list[Level]:
    """``count`` resolutions from ``keys`` (V,) on, each of twice the last one's side."""
    levels = [Level(keys, neighbours(keys), [])]
    for _ in range(count - 1):
        voxels, down = coarser(levels[-1].keys)
        levels.append(Level(voxels.keys, neighbours(voxels.keys), down))
    return levels


class Block(nn.Module):
    """Two submanifold convolutions with batch norm around a shortcut."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.first, self.second = SparseConvolution(27, inputs, width), SparseConvolution(27, width, width)
        self.first_norm, self.second_norm = nn.BatchNorm1d(width), nn.BatchNorm1d(width)
        self.shortcut = nn.Identity() if inputs == width else nn.Linear(inputs, width, bias=False)

    def forward(self, features: torch.Tensor, level: Level) -> torch.Tensor:
        """(V, inputs) to (V, width)."""
        count = len(level.keys)
        inner = relu(self.first_norm(self.first(features, level.beside, count)))
        inner = self.second_norm(self.second(inner, level.beside, count))
        return relu(inner + self.shortcut(features))


class SparseUNet(nn.Module):
    """Voxel features (V, C) to features (V, widths[0]) at the same voxels.

    Args:
        inputs: C.
        widths: channels at each resolution, finest first.
    """

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = SparseConvolution(27, inputs, widths[0])
        self.stem_norm = nn.BatchNorm1d(widths[0])
        steps = list(pairwise(widths))
        self.down = nn.ModuleList(SparseConvolution(8, fine, coarse) for fine, coarse in steps)
        self.down_norms = nn.ModuleList(nn.BatchNorm1d(coarse) for _, coarse in steps)
        self.encode = nn.ModuleList(Block(width, width) for width in widths)
        self.up = nn.ModuleList(SparseConvolution(8, coarse, fine) for fine, coarse in steps)
        self.up_norms = nn.ModuleList(nn.BatchNorm1d(fine) for fine, _ in steps)
        self.decode = nn.ModuleList(Block(2 * fine, fine) for fine, _ in steps)
        self.count = len(widths)

    def forward(self, features: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Features of voxels ``keys`` (V,), sorted."""
        levels = build_levels(keys, self.count)
        stem = relu(self.stem_norm(self.stem(features, levels[0].beside, len(keys))))
        skips: list[torch.Tensor] = [self.encode[0](stem, levels[0])]
        for number, level in enumerate(levels[1:]):
            lowered = relu(self.down_norms[number](self.down[number](skips[-1], level.down, len(level.keys))))
            skips.append(self.encode[number + 1](lowered, level))
        current: torch.Tensor = skips.pop()
        for number in reversed(range(self.count - 1)):
            raised = [Pairs(pairs.target, pairs.source) for pairs in levels[number + 1].down]
            current = relu(self.up_norms[number](self.up[number](current, raised, len(levels[number].keys))))
            current = self.decode[number](torch.cat([current, skips.pop()], dim=1), levels[number])
        return current


INPUTS = 9
"""Features of a voxel, means over its points: one, intensity, offset from its centre, direction from the sensor and distance."""
_FAR = 4.0


def voxel_inputs(points: torch.Tensor, intensity: torch.Tensor, rays: torch.Tensor, voxels: Voxels, size: float) -> torch.Tensor:
    """(V, `INPUTS`) from ``points`` (N, 3) m, ``intensity`` (N,) in [0, 1] and ``rays`` (N, 3) m from the sensor to each point.

    Offsets from the centre are in voxel sides, -0.5 to 0.5. The direction is a unit vector: it tells on which side of a surface the free space is, as the
    coordinates that the paper gives to its networks do. The distance r in m comes as log(1 + r) / 4, about 1 at the end of a sensor's range.
    """
    centres = coordinates_of(voxels.keys) + 0.5
    offset = points / size - centres[voxels.of_point]
    distance = rays.norm(dim=1, keepdim=True)
    parts = [intensity[:, None], offset.to(points.dtype), rays / distance.clamp(min=1e-6), distance.log1p() / _FAR]
    means = voxel_means(torch.cat(parts, dim=1), voxels)
    return torch.cat([torch.ones_like(means[:, :1]), means], dim=1)


class PointUNet(nn.Module):
    """Points to features, each point taking its voxel's.

    Args:
        voxel: side of the finest voxels in m.
        widths: channels at each resolution.
        latent: channels of a point's feature.
    """

    def __init__(self, voxel: float, widths: Sequence[int], latent: int) -> None:
        super().__init__()
        self.voxel = voxel
        self.unet = SparseUNet(INPUTS, widths)
        self.out = nn.Linear(widths[0], latent)

    def voxels(self, points: torch.Tensor, intensity: torch.Tensor, scan: torch.Tensor, origins: torch.Tensor | None = None) -> tuple[torch.Tensor, Voxels]:
        """Features (V, latent) of the occupied voxels, and these; arguments as in `forward`."""
        voxels = voxelise(points, scan, self.voxel)
        rays = points if origins is None else points - origins[scan]
        features: torch.Tensor = self.out(self.unet(voxel_inputs(points, intensity, rays, voxels, self.voxel), voxels.keys))
        return features, voxels

    def forward(self, points: torch.Tensor, intensity: torch.Tensor, scan: torch.Tensor, origins: torch.Tensor | None = None) -> torch.Tensor:
        """Features (N, latent) of points.

        Args:
            points: (N, 3) m.
            intensity: (N,) in [0, 1].
            scan: (N,) int64, keeps the B scans of a batch apart.
            origins: (B, 3) m, the sensor of each scan; None where it is at zero.
        """
        features, voxels = self.voxels(points, intensity, scan, origins)
        of_points: torch.Tensor = features[voxels.of_point]
        return of_points
