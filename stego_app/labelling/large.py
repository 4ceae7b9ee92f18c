"""Rasters too large to be seen whole: tile by tile from disk to disk, in the memory of a few rows of tiles, resumable."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from stego_app.atomic import write_bytes
from stego_app.crf import CrfPool
from stego_app.formats.parts import whole_file
from stego_app.formats.png_rows import RowsPng
from stego_app.labelling.names import Plan
from stego_app.labelling.raster import Raster, opened_raster
from stego_app.labelling.segmenter import LabellingSegmenter, maps_of
from stego_app.labelling.settings import LabelSettings
from stego_app.labelling.tile_grid import Floats, TileGrid, join, padded
from stego_app.labelling.tile_worker import Tile, TileTask, finish_tile
from stego_app.labelling.worker import Outcome
from stego_app.npz import load_arrays, save_arrays
from stego_app.progress import Progress
from stego_app.segmentation import Segmentation, count_labels, reduced_image

TILE = 1024
"""Side of a tile in pixels, where none is given."""

CACHE = ".tiles"
"""Folder inside OUT for what is done of a raster that is under way."""

FEW_BLOCKS = 4
"""For this many blocks, starting processes would take longer than the work."""

OVERLAY_SIDE = 4096
"""Long side of a raster's overlay, which is to be looked at whole."""


def label_large(plan: Plan, sha256: str, out: Path, segmenter: LabellingSegmenter, settings: LabelSettings, progress: Progress) -> Outcome:
    """Write the label map of a raster, and its overlay and map of confidence if asked for.

    Each tile is seen as an image is (short side at the resolution), tiles overlap by a third and are averaged patch by
    patch, and pixels are decided in blocks with a margin. Rows of tiles and of blocks that are done are kept on disk
    until the raster is done. Pixels without data get 255.

    Raises:
        StegoError: the raster cannot be read, or the output cannot be written.
    """
    with opened_raster(plan.image) as raster, CrfPool(settings.jobs) as pool:
        grid = _grid(raster, segmenter, settings)
        cache = _cache(out, plan, sha256, segmenter, settings, grid)
        run = _Large(plan, out, raster, grid, cache, segmenter, settings, progress, pool)
        run.encode()
        run.decide()
        outcome = run.assemble()
    shutil.rmtree(cache.parent, ignore_errors=True)
    with suppress(OSError):  # that of another raster is under way
        (out / CACHE).rmdir()
    return outcome


def _grid(raster: Raster, segmenter: LabellingSegmenter, settings: LabelSettings) -> TileGrid:
    """Laid out so that cells are the patches of a tile; how many there are in one, the segmenter tells by an empty tile."""
    side = settings.tile or TILE
    probe = segmenter.class_probabilities([np.zeros((side, side, 3), dtype=np.uint8)], **settings.seeing)[0]
    return TileGrid.for_tiles(raster.size, side, probe.shape[1])


def _cache(out: Path, plan: Plan, sha256: str, segmenter: LabellingSegmenter, settings: LabelSettings, grid: TileGrid) -> Path:
    """The folder of this raster under these settings; what other settings left is removed."""
    folder = out / CACHE / plan.state
    asked = [sha256, segmenter.fingerprint, settings.digest(), settings.asks_confidence, grid]
    cache = folder / hashlib.sha256(repr(asked).encode()).hexdigest()[:16]
    for other in folder.iterdir() if folder.is_dir() else ():
        if other != cache:
            shutil.rmtree(other, ignore_errors=True)
    return cache


@dataclass
class _Large:
    """The state of one call of `label_large`."""

    plan: Plan
    out: Path
    raster: Raster
    grid: TileGrid
    cache: Path
    segmenter: LabellingSegmenter
    settings: LabelSettings
    progress: Progress
    pool: CrfPool

    # The network's part -------------------------------------------------------------------------------------------

    def encode(self) -> None:
        """A file for each row of tiles: its maps (C, reach, columns of cells)."""
        tops = self.grid.starts(0)
        for row, top in enumerate(tops):
            if not self._row_file(row).is_file():
                self._save_row(row, top)
            self.progress(f"{self.plan.name}: rows of tiles", row + 1, len(tops))

    def _save_row(self, row: int, top: int) -> npt.NDArray[np.float16]:
        maps = self._encode_row(top).astype(np.float16)
        save_arrays(self._row_file(row), maps=maps)
        return maps

    def _row(self, row: int, top: int) -> Floats:
        """What is kept of a row of tiles, which is made again if its file is damaged."""
        arrays = load_arrays(self._row_file(row), "maps")
        return (self._save_row(row, top) if arrays is None else arrays["maps"]).astype(np.float32)

    def _encode_row(self, top: int) -> Floats:
        grid = self.grid
        first = top * grid.cell
        pixels, valid = self.raster.read(first, min(grid.height, first + grid.tile) - first)
        lefts = grid.starts(1)
        maps: list[Floats] = []
        for start in range(0, len(lefts), self.settings.batch_size):
            columns = [slice(left * grid.cell, (left + grid.reach) * grid.cell) for left in lefts[start : start + self.settings.batch_size]]
            seen = [bool(valid[:, column].any()) for column in columns]
            tiles = [padded(pixels[:, column], grid.tile, grid.tile) for column, is_seen in zip(columns, seen, strict=True) if is_seen]
            found = iter(self._maps(tiles) if tiles else [])
            maps.extend(next(found) if is_seen else self._nothing() for is_seen in seen)
        return join(maps, lefts, grid.tent(), grid.cells[1], axis=2)

    def _maps(self, tiles: list[npt.NDArray[np.uint8]]) -> Iterator[Floats]:
        """Each tile's probabilities, and beneath them what trust is read from, if asked for."""
        for probabilities, trust in maps_of(self.segmenter, tiles, self.settings):
            yield self._fitted(probabilities if trust is None else np.concatenate([probabilities, trust]))

    def _fitted(self, maps: Floats) -> Floats:
        """On the tile's cells, which they are already unless the backbone sees another number of patches in a tile than in the first one."""
        side = self.grid.reach
        if maps.shape[1:] == (side, side):
            return maps
        return np.stack([cv2.resize(np.ascontiguousarray(layer), (side, side), interpolation=cv2.INTER_LINEAR) for layer in maps])

    def _nothing(self) -> Floats:
        """The maps of a tile without data: ignored, and not to be trusted."""
        rows = len(self.segmenter.class_names(self.settings.classes)) + 1
        maps = np.zeros((rows * (2 if self.settings.asks_confidence else 1), self.grid.reach, self.grid.reach), dtype=np.float32)
        maps[rows - 1] = 1
        return maps

    # The decision -------------------------------------------------------------------------------------------------

    def decide(self) -> None:
        """A file for each row of blocks: labels and confidence (rows, W), and what is known of them."""
        tops = range(0, self.grid.cells[0], self.grid.reach)
        left = [top for top in tops if not self._strip_file(top).is_file()]
        if len(left) < len(tops):
            self.progress(f"{self.plan.name}: rows of blocks", len(tops) - len(left), len(tops))
        for number, top in enumerate(left):
            self._decide_strip(top, len(left))
            self.progress(f"{self.plan.name}: rows of blocks", len(tops) - len(left) + number + 1, len(tops))

    def _decide_strip(self, top: int, left: int) -> dict[str, npt.NDArray[Any]]:
        """Decide one row of the blocks that are left."""
        tiles = []
        tasks = self._tasks(top)
        few, engine = self.grid.cells[1] * left <= FEW_BLOCKS * self.grid.reach, self.segmenter.crf_engine
        results: Iterator[Any]
        if few or engine != "auto":
            results = (finish_tile(task, engine) for task in tasks)
        else:
            results = self.pool.run(finish_tile, ((task,) for task in tasks), ahead=self.pool.workers + 1)
        for tile in results:
            if isinstance(tile, BaseException):
                raise tile
            tiles.append(tile)
        return self._save_strip(top, tiles)

    def _strip(self, top: int) -> dict[str, npt.NDArray[Any]]:
        """What is kept of a row of blocks, which is decided again if its file is damaged."""
        names = ("labels", "sums", "confidence") if self.settings.confidence else ("labels", "sums")
        arrays = load_arrays(self._strip_file(top), *names)
        return self._decide_strip(top, 1) if arrays is None else arrays

    def _tasks(self, top: int) -> Iterator[TileTask]:
        """The blocks of one row, each with a margin."""
        grid, cell = self.grid, self.grid.cell
        above, below = max(0, top - grid.margin), min(grid.cells[0], top + grid.reach + grid.margin)
        maps = self._blended(above, below)
        pixels, valid = self.raster.read(above * cell, min(grid.height, below * cell) - above * cell)
        rows = slice((top - above) * cell, min(pixels.shape[0], (top + grid.reach - above) * cell))
        rows_of_map = len(maps) // 2 if self.settings.asks_confidence else len(maps)
        for left in range(0, grid.cells[1], grid.reach):
            before, after = max(0, left - grid.margin), min(grid.cells[1], left + grid.reach + grid.margin)
            size = ((below - above) * cell, (after - before) * cell)
            columns = slice((left - before) * cell, min(grid.width - before * cell, (left + grid.reach - before) * cell))
            part = maps[:, :, before:after]
            tile = padded(pixels[:, before * cell : after * cell], *size)
            yield TileTask(
                probabilities=np.ascontiguousarray(part[:rows_of_map]),
                trust=np.ascontiguousarray(part[rows_of_map:]) if self.settings.asks_confidence else None,
                size=size,
                core=(rows, columns),
                seen=reduced_image(tile, self.settings.crf_settings) if self.settings.crf else None,
                settings=self.settings.crf_settings,
                abstain=self.settings.abstain,
                valid=valid[rows, before * cell + columns.start : before * cell + columns.stop],
            )

    def _blended(self, first: int, last: int) -> Floats:
        """Maps (C, last - first, columns) of rows of cells, averaged over the rows of tiles that see them."""
        tops = self.grid.starts(0)
        near = [(row, top) for row, top in enumerate(tops) if top < last and top + self.grid.reach > first]
        parts = [self._row(row, top) for row, top in near]
        return join(parts, [top - first for _, top in near], self.grid.tent(), last - first, axis=1)

    def _save_strip(self, top: int, tiles: list[Tile]) -> dict[str, npt.NDArray[Any]]:
        confidence = [tile.confidence for tile in tiles if tile.confidence is not None]
        sums = np.array([sum(tile.total for tile in tiles), sum(tile.counted for tile in tiles), sum(tile.withheld for tile in tiles)], dtype=np.float64)
        shown = {"confidence": np.concatenate(confidence, axis=1)} if confidence else {}
        strip = {"labels": np.concatenate([tile.labels for tile in tiles], axis=1), "sums": sums, **shown}
        save_arrays(self._strip_file(top), **strip)
        return strip

    # The files ----------------------------------------------------------------------------------------------------

    def assemble(self) -> Outcome:
        """The label map and what else is asked for, from the rows of blocks."""
        grid, settings = self.grid, self.settings
        counts, sums = np.zeros(256, dtype=np.int64), np.zeros(3)
        palette = self.segmenter.palette(settings.classes)
        step = max(1, -(-max(grid.height, grid.width) // OVERLAY_SIDE))
        small = []
        with ExitStack() as stack:
            shown = stack.enter_context(_grey_png(stack, self.out / self.plan.confidence, grid)) if settings.confidence else None
            with whole_file(self.out / self.plan.label) as part, part.open("wb") as file, RowsPng(file, grid.height, grid.width, palette) as png:
                for top in range(0, grid.cells[0], grid.reach):
                    strip = self._strip(top)
                    png.write(strip["labels"])
                    counts += count_labels(strip["labels"])
                    sums += strip["sums"]
                    small.append(strip["labels"][(-top * grid.cell) % step :: step, ::step])
                    if shown is not None:
                        shown.write(strip["confidence"])
                if settings.overlays:
                    self._overlay(np.concatenate(small), palette)
        pixels = {str(label): int(counts[label]) for label in np.flatnonzero(counts)}
        if not settings.asks_confidence:
            return Outcome(pixels)
        mean = float(sums[0] / sums[1]) if sums[1] else 0.0
        return Outcome(pixels, mean, int(sums[2]) if settings.abstain is not None else None)

    def _overlay(self, labels: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8]) -> None:
        image, _ = self.raster.read(0, self.grid.height, shape=(labels.shape[0], labels.shape[1]))
        nothing = np.zeros((0, 0), dtype=np.float32)
        shown = Segmentation(image, labels, nothing, self.segmenter.class_names(self.settings.classes), palette)
        write_bytes(self.out / self.plan.overlay, shown.to_overlay_jpeg())

    def _row_file(self, row: int) -> Path:
        return self.cache / f"row-{row:05}.npz"

    def _strip_file(self, top: int) -> Path:
        return self.cache / f"strip-{top:06}.npz"


def _grey_png(stack: ExitStack, path: Path, grid: TileGrid) -> RowsPng:
    part = stack.enter_context(whole_file(path))
    return RowsPng(stack.enter_context(part.open("wb")), grid.height, grid.width)
