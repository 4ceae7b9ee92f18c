"""The permutohedral lattice of `stego_app.crf.lattice` in torch, built and applied on the device where the points are.

The steps and their order are those of the NumPy version, and so are the answers to rounding; what differs is how a step is
said: every sparse product is an embedding bag, which adds up the rows of a bag in a fixed order, so results do not change
from run to run on a GPU either, as those of atomic additions would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from stego_app.crf.lattice import elevate


@dataclass(frozen=True)
class Bags:
    """A sparse matrix by rows.

    Attributes:
        columns, weights: (R, n) where all rows have n entries, else (entries,).
        ends: (R + 1,) where one row ends and the next begins; None for rows of one length.
    """

    columns: torch.Tensor
    weights: torch.Tensor
    ends: torch.Tensor | None = None

    def __matmul__(self, values: torch.Tensor) -> torch.Tensor:
        """The product with ``values`` (C, K): (R, K)."""
        return F.embedding_bag(self.columns, values, self.ends, mode="sum", per_sample_weights=self.weights, include_last_offset=self.ends is not None)


@dataclass(frozen=True)
class TorchLattice:
    """The linear steps of a filter over N points and M occupied vertices; see `stego_app.crf.lattice.Lattice`."""

    splat: Bags
    blurs: tuple[Bags, ...]
    slice: Bags

    def apply(self, values: torch.Tensor) -> torch.Tensor:
        """Filter ``values`` (N, K). The constant factor of the Gaussian is left out: normalise by filtering ones."""
        spread = self.splat @ values
        for blur in self.blurs:
            spread = blur @ spread
        return self.slice @ spread

    def normalised(self) -> TorchLattice:
        """Symmetric normalisation; see `stego_app.crf.lattice.Lattice.normalised`."""
        ones = torch.ones(len(self.slice.columns), 1, device=self.slice.weights.device)
        scale = (self.apply(ones) + 1e-20).rsqrt()
        weights = self.slice.weights * scale
        points = self.splat.columns
        return TorchLattice(Bags(points, self.splat.weights * scale[points, 0], self.splat.ends), self.blurs, Bags(self.slice.columns, weights))


def build_torch_lattice(features: torch.Tensor) -> TorchLattice:
    """The lattice under points ``features`` (d, N) float32, already divided by their standard deviations.

    Raises:
        ValueError: the points are spread so widely that a vertex cannot be told by 63 bits.
    """
    size = len(features) + 1
    elevated = _basis(len(features)).to(features.device) @ features
    corner, rank, weights = _enclosing_simplex(elevated)
    keys, strides = _pack(elevated, corner, rank)
    vertices, index = torch.unique(keys.T, return_inverse=True)
    index = index.to(torch.int32)
    # The splat is the transpose of the slice: its rows are the vertices, so points are sorted by vertex.
    order = torch.argsort(index.flatten(), stable=True)
    ends = torch.zeros(len(vertices) + 1, dtype=torch.int32, device=features.device)
    ends[1:] = torch.bincount(index.flatten(), minlength=len(vertices)).cumsum(0)
    splat = Bags((order // size).to(torch.int32), weights.T.flatten()[order], ends)
    steps = [(size * stride if axis < size - 1 else 0) - sum(strides) for axis, stride in enumerate([*strides, 0])]
    return TorchLattice(splat, tuple(_blur(vertices, step) for step in steps), Bags(index, weights.T.contiguous()))


def _basis(dimensions: int) -> torch.Tensor:
    """What `elevate` does, as a matrix (d + 1, d)."""
    return torch.from_numpy(elevate(np.eye(dimensions, dtype=np.float32)))


def _enclosing_simplex(elevated: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The simplex around each point: remainder-0 vertex, ranks, and barycentric weights by remainder, each (d + 1, N)."""
    size = len(elevated)
    corner = torch.round(elevated / size) * size
    order = torch.argsort(elevated - corner, dim=0, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(size, device=order.device)[:, None].expand_as(order))
    rank += torch.round(corner.sum(dim=0) / size).long()
    # Where rounding left the plane of zero sum, the coordinates rounded worst go one step back.
    back = size * ((rank < 0).long() - (rank >= size).long())
    rank += back
    corner += back
    share = (elevated - corner) / size
    by_rank = torch.empty_like(share).scatter_(0, rank, share)
    weights = by_rank.flip(0)
    weights[1:] -= by_rank[1:].flip(0)
    weights[0] += 1 - by_rank[0]
    return corner.long(), rank, weights


def _pack(elevated: torch.Tensor, corner: torch.Tensor, rank: torch.Tensor) -> tuple[torch.Tensor, list[int]]:
    """One integer for each vertex around each point, (d + 1, N), and what a step along each of d coordinates adds to it.

    Raises:
        ValueError: 63 bits are not enough.
    """
    size = len(elevated)
    # A vertex lies at most 2 * size from its point, and a blur looks size further.
    lowest = [int(value) - 3 * size for value in elevated[:-1].amin(dim=1).floor().tolist()]
    highest = [int(value) + 3 * size for value in elevated[:-1].amax(dim=1).ceil().tolist()]
    strides, stride = [], 1
    for low, high in zip(lowest, highest, strict=True):
        strides.append(stride)
        stride *= high - low + 1
    if stride >= 2**62:
        raise ValueError("features too far apart for the lattice; use larger standard deviations")
    along = torch.tensor([*strides, 0], device=corner.device)
    first = (corner * along[:, None]).sum(dim=0) - sum(low * stride for low, stride in zip(lowest, strides, strict=True))
    # From remainder k - 1 to k every coordinate gains 1, and the one of rank d + 1 - k drops by d + 1.
    gain = torch.empty_like(rank).scatter_(0, rank, (along.sum() - size * along)[:, None].expand_as(rank))
    return torch.cat([first[None], first + gain[1:].flip(0).cumsum(dim=0)]), strides


def _blur(vertices: torch.Tensor, step: int) -> Bags:
    """The filter (1/2, 1, 1/2) between occupied vertices, sorted, that lie ``step`` apart."""
    here = torch.arange(len(vertices), device=vertices.device)
    place = torch.searchsorted(vertices, vertices + step).clamp_(max=len(vertices) - 1)
    found = vertices[place] == vertices + step
    # Itself and the neighbours on either side; where there is none, itself with no weight.
    near = here[:, None].repeat(1, 3)
    weights = torch.zeros(len(vertices), 3, device=vertices.device)
    weights[:, 0] = 1
    near[found, 1], weights[found, 1] = place[found], 0.5
    near[place[found], 2], weights[place[found], 2] = here[found], 0.5
    return Bags(near.to(torch.int32), weights)
