"""Gaussian filtering in many dimensions on the permutohedral lattice (Adams, Baek & Davis 2010).

A filter is three sparse linear steps: *splat* spreads each point's values over the d + 1 vertices of the simplex around
it, *blur* runs along the d + 1 lattice directions, *slice* reads the values back with the same weights. Everything here
is made of whole-array operations; what is built once is applied in every mean-field update.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

CHUNK = 8192
"""Points placed at a time, so that what is made on the way stays in the processor's cache."""


@dataclass(frozen=True)
class Lattice:
    """The linear steps of a filter over N points and M occupied vertices.

    Attributes:
        slice: (N, M) sparse, d + 1 weights a row. Its transpose is the splat.
        blurs: d + 1 sparse (M, M), one a direction, in the order of application.
    """

    slice: sparse.csr_matrix
    blurs: tuple[sparse.csr_matrix, ...]

    def apply(self, values: Floats) -> Floats:
        """Filter ``values`` (N, K). The constant factor of the Gaussian is left out: normalise by filtering ones."""
        # The transpose of a CSR matrix is a CSC view of the same arrays: points are read in order and scattered.
        spread = self.slice.T @ values
        for blur in self.blurs:
            spread = blur @ spread
        result: Floats = self.slice @ spread
        return result

    def normalised(self) -> Lattice:
        """This filter F as D F D with D = diag(F 1)^(-1/2): symmetric normalisation (Krähenbühl & Koltun 2013, section 3)."""
        ones = np.ones((self.slice.shape[0], 1), dtype=np.float32)
        scale = 1 / np.sqrt(self.apply(ones) + np.float32(1e-20))
        weights = (self.slice.data.reshape(len(scale), -1) * scale).ravel()
        return Lattice(sparse.csr_matrix((weights, self.slice.indices, self.slice.indptr), shape=self.slice.shape), self.blurs)


def build_lattice(features: Floats) -> Lattice:
    """The lattice under points ``features`` (d, N), already divided by their standard deviations.

    Raises:
        ValueError: the points are spread so widely that a vertex cannot be told by 63 bits.
    """
    dimensions, points = features.shape
    elevated = elevate(features)
    lowest, strides = _packing(elevated)
    weights = np.empty((points, dimensions + 1), dtype=np.float32)
    keys = np.empty((dimensions + 1, points), dtype=np.int64)
    for start in range(0, points, CHUNK):
        part = slice(start, start + CHUNK)
        corner, rank, barycentric = _enclosing_simplex(elevated[:, part])
        weights[part] = barycentric.T
        keys[:, part] = _pack(corner, rank, lowest, strides)
    index = np.empty((points, dimensions + 1), dtype=np.int32)
    vertices: list[Integers] = []
    count = 0
    # Vertices of different remainder are different, so each row can be sorted by itself, which is faster than all at once.
    for remainder, row in enumerate(keys):
        unique, inverse = np.unique(row, return_inverse=True)
        index[:, remainder] = inverse + count
        vertices.append(unique)
        count += len(unique)
    ends = np.arange(points + 1, dtype=np.int32) * (dimensions + 1)
    slices = sparse.csr_matrix((weights.ravel(), index.ravel(), ends), shape=(points, count))
    return Lattice(slices, _blurs(vertices, strides))


def elevate(features: Floats) -> Floats:
    """Points (d, N) in the hyperplane of zero sum (d + 1, N), scaled so that splat, blur and slice add up to unit variance.

    Adams et al. 2010, section 3.1: the columns of the basis are (1, .., 1, -j, 0, ..) / sqrt(j (j + 1)).
    """
    dimensions = len(features)
    spacing = np.sqrt(2 / 3) * (dimensions + 1)
    elevated = np.zeros((dimensions + 1, features.shape[1]), dtype=np.float32)
    total = np.zeros(features.shape[1], dtype=np.float32)
    for axis in range(dimensions, 0, -1):
        scaled = features[axis - 1] * np.float32(spacing / np.sqrt(axis * (axis + 1)))
        elevated[axis] = total - axis * scaled
        total += scaled
    elevated[0] = total
    return elevated


def _enclosing_simplex(elevated: Floats) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int8], Floats]:
    """The simplex around each point: its remainder-0 vertex (d + 1, N), ranks (d + 1, N), barycentric weights (d + 1, N).

    Row k of the weights belongs to the vertex with remainder k (Adams et al. 2010, section 3.2).
    """
    size, points = elevated.shape
    step = np.float32(1 / size)
    corner = np.rint(elevated * step)
    corner *= size
    offset = elevated - corner
    rank = np.zeros((size, points), dtype=np.int8)
    for i in range(size):
        for j in range(i + 1, size):
            behind = offset[i] < offset[j]
            rank[i] += behind
            rank[j] += ~behind
    rank += np.rint(corner.sum(axis=0) * step).astype(np.int8)
    # Where rounding left the plane of zero sum, the coordinates rounded worst go one step back.
    back = np.int8(size) * ((rank < 0).astype(np.int8) - (rank >= size).astype(np.int8))
    rank += back
    corner += back
    share = (elevated - corner) * step
    # The coordinate of rank r adds its share to remainder d - r and takes it from remainder d + 1 - r, which for r = 0 is remainder 0.
    by_rank = np.empty_like(share)
    by_rank[rank, np.arange(points)] = share
    weights = by_rank[::-1].copy()
    weights[1:] -= by_rank[:0:-1]
    weights[0] += 1 - by_rank[0]
    return corner.astype(np.int32), rank, weights


def _packing(elevated: Floats) -> tuple[Integers, Integers]:
    """Lowest value and stride (d,) of each coordinate, for one integer a vertex in which a step along the lattice is a constant to add.

    The last coordinate follows from the others.

    Raises:
        ValueError: 63 bits are not enough.
    """
    size = len(elevated)
    # A vertex lies at most 2 * size from its point, and a blur looks size further.
    lowest = np.floor(elevated[:-1].min(axis=1)).astype(np.int64) - 3 * size
    extent = np.ceil(elevated[:-1].max(axis=1)).astype(np.int64) + 3 * size - lowest + 1
    if float(np.prod(extent.astype(np.float64))) >= 2.0**62:
        raise ValueError("features too far apart for the lattice; use larger standard deviations")
    return lowest, np.concatenate([[1], np.cumprod(extent[:-1])])


def _pack(corner: npt.NDArray[np.int32], rank: npt.NDArray[np.int8], lowest: Integers, strides: Integers) -> Integers:
    """The keys (d + 1, N) of the vertices around each point, one row a remainder."""
    size = len(corner)
    keys = np.empty(corner.shape, dtype=np.int64)
    keys[0] = -int(strides @ lowest)
    for axis in range(size - 1):
        keys[0] += corner[axis] * strides[axis]
    # From remainder k - 1 to k every coordinate gains 1, and the one of rank d + 1 - k drops by d + 1.
    gain = np.empty(corner.shape, dtype=np.int64)
    gain[rank, np.arange(corner.shape[1])] = strides.sum() - size * np.append(strides, 0)[:, None]
    for remainder in range(1, size):
        np.add(keys[remainder - 1], gain[size - remainder], out=keys[remainder])
    return keys


def _blurs(vertices: list[Integers], strides: Integers) -> tuple[sparse.csr_matrix, ...]:
    """The filters (1/2, 1, 1/2) along each direction between occupied vertices, given their sorted keys by remainder."""
    size = len(vertices)
    starts = np.cumsum([0] + [len(keys) for keys in vertices])
    count = int(starts[-1])
    blurs = []
    for axis in range(size):
        step = (size * int(strides[axis]) if axis < size - 1 else 0) - int(strides.sum())
        # Itself and the neighbours on either side; -1 where there is none.
        near = np.full((count, 3), -1, dtype=np.int32)
        near[:, 0] = np.arange(count)
        # A step takes 1 from all coordinates (and adds d + 1 to one), so it leads to the remainder before.
        for remainder, keys in enumerate(vertices):
            before = (remainder - 1) % size
            wanted, others = keys + step, vertices[before]
            place = np.minimum(np.searchsorted(others, wanted), len(others) - 1)
            found = np.flatnonzero(others[place] == wanted)
            here, there = found + starts[remainder], place[found] + starts[before]
            near[here, 1], near[there, 2] = there, here
        ends = np.zeros(count + 1, dtype=np.int32)
        np.cumsum(1 + (near[:, 1] >= 0) + (near[:, 2] >= 0), out=ends[1:])
        weights = np.full(ends[-1], 0.5, dtype=np.float32)
        weights[ends[:-1]] = 1
        blurs.append(sparse.csr_matrix((weights, near[near >= 0], ends), shape=(count, count)))
    return tuple(blurs)
