"""Batches of scans by step: which scans, moved how, asked what, is a pure function of the seed and the step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from models.errors import StegoError
from pretrain.bank import Bank
from pretrain.batches import NOTHING, Share, deal, replaced
from pretrain.lidar.queries import Queries, ray_queries
from pretrain.views import ATTEMPTS
from stego_app.lidar.motion import random_motion
from stego_app.lidar.readers import read_scan
from stego_app.lidar.scan import Floats, Scan


class ScanBatch(NamedTuple):
    """A micro-batch of scans, one after the other.

    Attributes:
        points: (N, 3) m.
        intensity: (N,) in [0, 1].
        scan: (N,) int64, the scan of each point.
        origins: (B, 3) m, the sensor of each scan.
        queries: (Q, 3) m.
        full: (Q,) bool.
        query_intensity: (Q,) in [0, 1], or `pretrain.lidar.queries.UNKNOWN`.
        query_scan: (Q,) int64.
        unreadable: (R,) int64, which scans others were taken for, since they cannot be used.
    """

    points: torch.Tensor
    intensity: torch.Tensor
    scan: torch.Tensor
    origins: torch.Tensor
    queries: torch.Tensor
    full: torch.Tensor
    query_intensity: torch.Tensor
    query_scan: torch.Tensor
    unreadable: torch.Tensor = NOTHING

    @property
    def size(self) -> int:
        """Number of scans."""
        return len(self.origins)


class ScanBank(Bank[Scan]):
    """Scans by index, within ``reach`` m of the sensor to each side."""

    def __init__(self, paths: Sequence[Path], reach: float, budget: float) -> None:
        super().__init__(paths, budget)
        self.reach = reach

    def load(self, index: int) -> Scan:
        return within_reach(read_scan(self.paths[index]), self.reach, str(self.paths[index]))

    def size_of(self, item: Scan) -> int:
        return item.points.nbytes + item.intensity.nbytes + item.rows.nbytes


def within_reach(scan: Scan, reach: float, name: str) -> Scan:
    """The points at most ``reach`` m from the sensor along x and along y.

    Raises:
        StegoError: there are none.
    """
    inside = np.abs(scan.points[:, :2]).max(axis=1) <= reach
    if not inside.any():
        raise StegoError(f"{name}: no point within {reach:g} m of the sensor; expected some, or a larger reach")
    return Scan(scan.points[inside], scan.intensity[inside], scan.rows[inside], scan.total)


class Asking(NamedTuple):
    """How scans are moved and asked: see `pretrain.methods.also.AlsoOptions`."""

    rays: int
    offset: float
    shift: float


class ScanBatches(Dataset[ScanBatch]):
    """Item i is micro-batch ``i % accumulate`` of optimiser step ``start + i // accumulate``."""

    def __init__(self, bank: ScanBank, asking: Asking, *, batch: int, seed: int, start: int, steps: int, share: Share) -> None:
        self.bank = bank
        self.asking = asking
        self.batch = batch
        self.seed = seed
        self.start = start
        self.steps = steps
        self.share = share

    def __len__(self) -> int:
        return (self.steps - self.start) * self.share.accumulate

    def __getitem__(self, item: int) -> ScanBatch:
        step = self.start + item // self.share.accumulate
        slots = self.share.slots(item, self.batch)
        dealt = deal(self.seed, step, self.batch, len(self.bank))[slots.start : slots.stop].tolist()
        made = [self._asked(step, slot, index) for slot, index in zip(slots, dealt, strict=True)]
        return collate([one for one, _ in made])._replace(unreadable=replaced(dealt, [index for _, index in made]))

    def _asked(self, step: int, slot: int, index: int) -> tuple[Asked, int]:
        rng = np.random.default_rng((self.seed, 3, step, slot))
        for _ in range(ATTEMPTS):
            scan = self.bank.get(index)
            if scan is not None:
                return asked(scan, self.asking, rng), index
            index = int(rng.integers(len(self.bank)))
        raise StegoError(f"{ATTEMPTS} scans in a row cannot be used, the last of them: {next(reversed(self.bank.skipped.values()))}")


class Asked(NamedTuple):
    """A moved scan, where its sensor then is (3,), and queries on its rays."""

    scan: Scan
    origin: Floats
    queries: Queries


def asked(scan: Scan, asking: Asking, rng: np.random.Generator) -> Asked:
    """A moved copy of ``scan``, and queries on its rays from where the sensor then is."""
    motion = random_motion(rng, asking.shift)
    moved = Scan(motion(scan.points), scan.intensity, scan.rows, scan.total)
    origin = motion(np.zeros((1, 3), np.float32))[0]
    return Asked(moved, origin, ray_queries(moved.points, moved.intensity, origin, asking.rays, asking.offset, rng))


def collate(made: Sequence[Asked]) -> ScanBatch:
    """Scans and their queries one after the other."""

    def joined(parts: Sequence[npt.NDArray[np.generic]]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(parts))

    numbers = torch.arange(len(made))
    return ScanBatch(
        points=joined([one.scan.points for one in made]),
        intensity=joined([one.scan.intensity for one in made]),
        scan=torch.repeat_interleave(numbers, torch.tensor([len(one.scan) for one in made])),
        origins=torch.from_numpy(np.stack([one.origin for one in made])),
        queries=joined([one.queries.points for one in made]),
        full=joined([one.queries.full for one in made]),
        query_intensity=joined([one.queries.intensity for one in made]),
        query_scan=torch.repeat_interleave(numbers, torch.tensor([len(one.queries.full) for one in made])),
    )
