"""Occupied voxels as sorted 64-bit keys: which points share one, which lie beside each other, which share a coarser one."""

from __future__ import annotations

from typing import NamedTuple

import torch

_BITS = 18
_ORIGIN = 1 << (_BITS - 1)
_MARGIN = 64
"""Voxels kept free at the border of the range, so that a neighbour's key never runs over into the next coordinate."""
MAX_SCANS = 1 << (62 - 3 * _BITS)


class Voxels(NamedTuple):
    """The V occupied voxels of a batch of scans.

    Attributes:
        keys: (V,) int64, ascending: scan, x, y and z of the voxel, in 18 bits each.
        of_point: (N,) int64, the voxel of each point.
    """

    keys: torch.Tensor
    of_point: torch.Tensor


class Pairs(NamedTuple):
    """Where one weight of a convolution applies: it takes the features of voxels ``source`` (P,) to ``target`` (P,); in each, a voxel stands once at most."""

    source: torch.Tensor
    target: torch.Tensor


def key_of(coordinates: torch.Tensor, scan: torch.Tensor) -> torch.Tensor:
    """Keys (N,) of integer voxel ``coordinates`` (N, 3) of ``scan`` (N,), 0 to `MAX_SCANS` - 1.

    Raises:
        ValueError: a coordinate is beyond ±2¹⁷, or there are too many scans.
    """
    if len(coordinates) and (int(coordinates.abs().max()) >= _ORIGIN - _MARGIN or int(scan.max()) >= MAX_SCANS):
        raise ValueError(f"voxel coordinates beyond ±{_ORIGIN - _MARGIN}, or more than {MAX_SCANS} scans")
    x, y, z = (coordinates.long() + _ORIGIN).unbind(1)
    return (scan.long() << 3 * _BITS) | (x << 2 * _BITS) | (y << _BITS) | z


def coordinates_of(keys: torch.Tensor) -> torch.Tensor:
    """Integer coordinates (V, 3) of keys (V,)."""
    mask = (1 << _BITS) - 1
    return torch.stack([(keys >> shift & mask) - _ORIGIN for shift in (2 * _BITS, _BITS, 0)], dim=1)


def voxelise(points: torch.Tensor, scan: torch.Tensor, size: float) -> Voxels:
    """The occupied voxels of side ``size`` m of ``points`` (N, 3) m, whatever the order of the points; ``scan`` (N,) keeps scans apart."""
    keys, of_point = torch.unique(key_of((points / size).floor(), scan), return_inverse=True)
    return Voxels(keys, of_point)


def scan_of(keys: torch.Tensor) -> torch.Tensor:
    """The scan (V,) of each voxel."""
    return keys >> 3 * _BITS


def voxel_means(rows: torch.Tensor, voxels: Voxels) -> torch.Tensor:
    """Means (V, C) of the ``rows`` (N, C) of the points of each voxel."""
    sums = torch.zeros(len(voxels.keys), rows.shape[1], dtype=rows.dtype, device=rows.device).index_add_(0, voxels.of_point, rows)
    return sums / torch.bincount(voxels.of_point, minlength=len(voxels.keys))[:, None]


def coarser(keys: torch.Tensor) -> tuple[Voxels, list[Pairs]]:
    """The voxels of twice the side that hold ``keys`` (V,), and for each of their eight octants which voxel lies in it.

    Returns:
        the coarser voxels, numbered for the voxels of ``keys`` instead of points; eight `Pairs` from fine to coarse.
    """
    halved = (keys >> 3 * _BITS) << 3 * _BITS
    octant = torch.zeros_like(keys)
    for number, shift in enumerate((2 * _BITS, _BITS, 0)):
        value = keys >> shift & ((1 << _BITS) - 1)
        # The origin is shifted to stay in the middle of the range: halving a level again and again stays within it.
        halved |= ((value + _ORIGIN) >> 1) << shift
        octant |= (value & 1) << (2 - number)
    found, of_voxel = torch.unique(halved, return_inverse=True)
    sources = [(octant == number).nonzero()[:, 0] for number in range(8)]
    return Voxels(found, of_voxel), [Pairs(source, of_voxel[source]) for source in sources]


def neighbours(keys: torch.Tensor) -> list[Pairs]:
    """For each of the 27 offsets (dx, dy, dz) in {-1, 0, 1}³, z fastest: pairs of voxels that lie so, ``source`` at ``target`` + offset."""
    everything = torch.arange(len(keys), device=keys.device)
    found: list[Pairs] = []
    for number in range(13):  # the other half are these, turned round
        dx, dy, dz = number // 9 - 1, number // 3 % 3 - 1, number % 3 - 1
        wanted = keys + (dx * (1 << 2 * _BITS) + dy * (1 << _BITS) + dz)
        place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        target = (keys[place] == wanted).nonzero()[:, 0]
        found.append(Pairs(place[target], target))
    return [*found, Pairs(everything, everything), *(Pairs(pairs.target, pairs.source) for pairs in reversed(found))]
