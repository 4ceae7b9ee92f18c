"""How a large image is laid out in overlapping tiles, and how their maps become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TileGrid:
    """A raster of ``height`` × ``width`` pixels in cells of ``cell`` pixels a side, one a patch; tiles have ``reach`` cells a side.

    Tiles start at whole cells, so their maps lie on one grid and can be averaged without resampling.
    """

    height: int
    width: int
    cell: int
    reach: int

    @classmethod
    def for_tiles(cls, size: tuple[int, int], tile: int, patches: int) -> TileGrid:
        """For tiles of about ``tile`` pixels that a backbone sees as ``patches`` a side."""
        return cls(*size, max(1, round(tile / patches)), patches)

    @property
    def tile(self) -> int:
        """Side of a tile in pixels."""
        return self.cell * self.reach

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of cells; the last may lie partly outside."""
        return -(-self.height // self.cell), -(-self.width // self.cell)

    @property
    def margin(self) -> int:
        """Cells that are seen around what is decided together, so that no seam shows."""
        return max(1, self.reach // 8)

    def starts(self, axis: int) -> list[int]:
        """First cell of each tile along an axis (0: rows)."""
        from stego_app.encoder import window_starts  # brings torch, which worker processes do without

        return window_starts(self.cells[axis], self.reach)

    def tent(self) -> Floats:
        """Weights (reach) of a tile's cells along an axis: they fall towards the border, where a patch has seen least around it."""
        position = np.arange(self.reach, dtype=np.float32)
        return np.minimum(position + 1, self.reach - position)


def join(parts: Sequence[Floats], starts: Sequence[int], tent: Floats, length: int, axis: int) -> Floats:
    """Overlapping maps averaged into one along ``axis``, 1 or 2 of (C, h, w), weighted by ``tent``; what leaves ``length`` is dropped."""
    shape = list(parts[0].shape)
    shape[axis] = length
    total, weights = np.zeros(shape, dtype=np.float32), np.zeros(length, dtype=np.float32)
    along = (-1, 1) if axis == 1 else (-1,)
    for part, start in zip(parts, starts, strict=True):
        # Parts may begin before what is wanted or go on after it.
        first, last = max(0, start), min(length, start + len(tent))
        if first >= last:
            continue
        inside = slice(first - start, last - start)
        weight = tent[inside]
        cut = part[:, inside] if axis == 1 else part[:, :, inside]
        target = total[:, first:last] if axis == 1 else total[:, :, first:last]
        target += cut * weight.reshape(along)
        weights[first:last] += weight
    total /= weights.reshape(along)
    return total


def padded(pixels: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Pixels (h, w, 3) continued downwards and to the right to (height, width, 3) by their last row and column."""
    below, right = height - pixels.shape[0], width - pixels.shape[1]
    return np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="edge") if below or right else pixels
