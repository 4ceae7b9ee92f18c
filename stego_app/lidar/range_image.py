"""Features of a scan on a grid of elevation and azimuth, where cells beside each other were seen beside each other: what discovery takes for an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from models.errors import StegoError
from models.lidar.backbone import LidarBackbone
from stego_app.atomic import OutputError
from stego_app.lidar.features import point_features
from stego_app.lidar.readers import read_scan
from stego_app.lidar.scan import Floats
from stego_app.lidar.store import ScanStore
from stego_app.progress import Progress, silent

ROWS, COLUMNS = 32, 512


def range_cells(points: Floats) -> npt.NDArray[np.int64]:
    """The point (`ROWS`, `COLUMNS`) seen in each cell: the nearest to the sensor, -1 where none.

    Rows run from the highest elevation of the scan to the lowest, columns once around.
    """
    distance = np.linalg.norm(points, axis=1)
    seen = np.flatnonzero(distance > 0)
    points, distance = points[seen], distance[seen]
    elevation = np.arcsin(np.clip(points[:, 2] / distance, -1, 1))
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    span = max(1e-6, float(np.ptp(elevation))) if len(elevation) else 1.0
    rows = np.clip(((elevation.max(initial=-np.inf) - elevation) / span * ROWS).astype(np.int64), 0, ROWS - 1)
    columns = ((azimuth + np.pi) / (2 * np.pi) * COLUMNS).astype(np.int64) % COLUMNS
    order = np.argsort(-distance, kind="stable")  # the nearest is written last
    cells = np.full((ROWS, COLUMNS), -1, np.int64)
    cells[rows[order], columns[order]] = seen[order]
    return cells


class ScanTokens:
    """A `stego_app.discovery.source.TokenSource` of scans. A cell that nothing was seen in takes the feature of the nearest one; it is never sampled."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self.failures: list[tuple[Path, str]] = []
        self._tokens: list[npt.NDArray[np.float16]] = []
        self._seen: list[npt.NDArray[np.int64]] = []

    @classmethod
    def build(
        cls, paths: Sequence[Path], backbone: LidarBackbone, device: str = "cpu", progress: Progress = silent, *, cache: Path | None = None
    ) -> ScanTokens:
        """Features of ``paths``, kept in the folder ``cache`` if given; a scan that cannot be used is left out, and named in ``failures``.

        Raises:
            StegoError: none can be used, or ``cache`` cannot be written to.
        """
        source = cls()
        store = None if cache is None else ScanStore(cache, backbone, (ROWS, COLUMNS))
        for done, path in enumerate(paths, 1):
            try:
                source.add(path, *_entry(path, backbone, device, store))
            except OutputError:
                raise
            except StegoError as error:
                source.failures.append((path, str(error)))
            progress("features of scans", done, len(paths))
        if not source.paths:
            raise StegoError(f"no scan can be used, the last of them: {source.failures[-1][1]}")
        return source

    def add(self, path: Path, tokens: npt.NDArray[np.float16], seen: npt.NDArray[np.int64]) -> None:
        """Keep a scan as `on_cells` gives it."""
        self.paths.append(path)
        self._tokens.append(tokens)
        self._seen.append(seen)

    def __len__(self) -> int:
        return len(self.paths)

    def grid(self, _index: int, /) -> tuple[int, int]:
        """(`ROWS`, `COLUMNS`)."""
        return ROWS, COLUMNS

    def tokens(self, index: int, /) -> npt.NDArray[np.float16]:
        """Features (`ROWS` · `COLUMNS`, C) of scan ``index``."""
        return self._tokens[index]

    def sample(self, n_tokens: int, seed: int, /) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Up to ``n_tokens`` features (n, C) of cells that something was seen in, in random order, and the scan (n,) of each."""
        scans = np.repeat(np.arange(len(self)), [len(seen) for seen in self._seen])
        cells = np.concatenate(self._seen)
        drawn = np.random.default_rng(seed).permutation(len(cells))[:n_tokens]
        features = np.empty((len(drawn), self._tokens[0].shape[1]), np.float32)
        for scan in np.unique(scans[drawn]):
            places = scans[drawn] == scan
            features[places] = self._tokens[scan][cells[drawn[places]]]
        return features, scans[drawn].astype(np.int64)


def on_cells(features: npt.NDArray[np.float32], cells: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int64]]:
    """Features (`ROWS` · `COLUMNS`, C) of a scan's `range_cells`, of its points' ``features`` (N, C), and the numbers of cells with something in them."""
    nearest = distance_transform_edt(cells < 0, return_distances=False, return_indices=True)
    return features[cells[tuple(nearest)].ravel()].astype(np.float16), np.flatnonzero(cells.ravel() >= 0)


def _entry(path: Path, backbone: LidarBackbone, device: str, store: ScanStore | None) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int64]]:
    """`on_cells` of a scan, from the ``store`` where it is there."""
    place = None if store is None else store.path(path)
    if store is not None and place is not None and (kept := store.read(place)) is not None:
        return kept
    scan = read_scan(path)
    cells = range_cells(scan.points)
    if (cells < 0).all():
        raise StegoError(f"{path}: all points are at the sensor itself; expected returns around it")
    made = on_cells(point_features(backbone, scan, device).numpy(), cells)
    if store is not None and place is not None:
        store.write(place, *made)
    return made
