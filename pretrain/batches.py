"""Batches of views by step: which images, seen how, is a pure function of the seed and the step, so nothing about data need be stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from models.errors import StegoError
from pretrain.augment import Crop, make_view
from pretrain.views import ATTEMPTS, ImageBank, epoch_order


@dataclass(frozen=True)
class ViewPlan:
    """The views an image is given: each of ``crops`` once (the global ones, of one size) and each of ``local`` once (smaller ones)."""

    crops: tuple[Crop, ...]
    local: tuple[Crop, ...] = field(default=())


NOTHING = torch.empty(0, dtype=torch.int64)


class Batch(NamedTuple):
    """A micro-batch of B images.

    Attributes:
        views: (V, B, 3, S, S) uint8, the global views.
        local: (L, B, 3, s, s) uint8, the local views; L may be 0.
        boxes: (V, B, 4) where each global view was cut, as shares of the image's sides.
        flips: (V, B) bool, whether it is mirrored.
        labels: (B,) int64, the number of each image's folder.
        indices: (B,) int64, which images these are.
        unreadable: (R,) int64, which images others were taken for, since they cannot be read.
    """

    views: torch.Tensor
    local: torch.Tensor
    boxes: torch.Tensor
    flips: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    unreadable: torch.Tensor = NOTHING

    @property
    def size(self) -> int:
        """B."""
        return self.views.shape[1]


@dataclass(frozen=True)
class Share:
    """Which part of every step's batch this process prepares: micro-batch k of ``accumulate`` for rank ``rank`` of ``world``."""

    rank: int = 0
    world: int = 1
    accumulate: int = 1

    def slots(self, item: int, batch: int) -> range:
        """Places in a step's ``batch`` of this process's micro-batch ``item``, counted from any step's first."""
        parts = self.world * self.accumulate
        part = self.rank * self.accumulate + item % self.accumulate
        return range(part * batch // parts, (part + 1) * batch // parts)


PlanAt = Callable[[int], tuple[ViewPlan, int]]
"""``plan(step)`` gives the views of a step and its images over all ranks and micro-batches."""
Subset = Callable[[int], npt.NDArray[np.int64] | None]
"""``subset(step)`` gives the images a step may draw from, or None for all."""


class PretrainViews(Dataset[Batch]):
    """Item i is micro-batch ``i % accumulate`` of optimiser step ``start + i // accumulate``."""

    def __init__(
        self, banks: Sequence[ImageBank], labels: npt.NDArray[np.int64], plan: PlanAt, subset: Subset, *, seed: int, start: int, steps: int, share: Share
    ) -> None:
        self.banks = list(banks)
        self.labels = labels
        self.plan = plan
        self.subset = subset
        self.seed = seed
        self.start = start
        self.steps = steps
        self.share = share
        self.threads = min(4, max(1, torch.get_num_threads()))
        self._pool: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return (self.steps - self.start) * self.share.accumulate

    def __getitem__(self, item: int) -> Batch:
        step = self.start + item // self.share.accumulate
        plan, batch = self.plan(step)
        indices = deal(self.seed, step, batch, len(self.banks[0]), self.subset(step))
        jobs = [(step, slot, int(indices[slot]), plan) for slot in self.share.slots(item, batch)]
        if self.threads == 1:
            made = [self._views(*job) for job in jobs]
        else:
            self._pool = self._pool or ThreadPoolExecutor(self.threads)
            made = list(self._pool.map(lambda job: self._views(*job), jobs))
        return _collate(made, len(plan.crops), self.labels)._replace(unreadable=replaced([job[2] for job in jobs], [one[3] for one in made]))

    def _views(self, step: int, slot: int, index: int, plan: ViewPlan) -> tuple[list[torch.Tensor], list[tuple[float, ...]], list[bool], int]:
        rng = np.random.default_rng((self.seed, 3, step, slot))
        for _ in range(ATTEMPTS):
            images = [bank.get(index) for bank in self.banks]
            if all(image is not None for image in images):
                break
            allowed = self.subset(step)
            place = int(rng.integers(len(self.banks[0]) if allowed is None else len(allowed)))
            index = place if allowed is None else int(allowed[place])
        else:
            reasons = [reason for bank in self.banks for reason in bank.skipped.values()]
            raise StegoError(f"{ATTEMPTS} images in a row cannot be read, the last of them: {reasons[-1]}")
        made = []
        for number, crop in enumerate((*plan.crops, *plan.local)):
            image = images[number % len(images)]
            assert image is not None  # the loop above ended at images that can be read
            made.append(self.view(image, crop, rng))
        return [view for view, _, _ in made], [box for _, box, _ in made], [flip for _, _, flip in made], index

    def view(self, item: npt.NDArray[np.uint8], crop: Crop, rng: np.random.Generator) -> tuple[torch.Tensor, tuple[float, ...], bool]:
        """One view of an item of the banks; see `make_view`."""
        return make_view(item, crop, rng)

    def __getstate__(self) -> dict[str, object]:  # worker processes start with a pool of their own
        return {**self.__dict__, "_pool": None}


def deal(seed: int, step: int, batch: int, count: int, subset: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
    """The ``batch`` images of ``step``: dealt in epochs of random order, each image once an epoch; (batch,) int64."""
    size = count if subset is None else len(subset)
    positions = np.arange(step * batch, (step + 1) * batch)
    chosen = np.array([epoch_order(seed, int(epoch), size)[place] for epoch, place in zip(positions // size, positions % size, strict=True)], dtype=np.int64)
    return chosen if subset is None else subset[chosen]


def replaced(asked: Sequence[int], taken: Sequence[int]) -> torch.Tensor:
    """The items (R,) int64 of ``asked`` for which others were ``taken``."""
    return torch.tensor([one for one, other in zip(asked, taken, strict=True) if one != other], dtype=torch.int64)


def _collate(made: Sequence[tuple[list[torch.Tensor], list[tuple[float, ...]], list[bool], int]], views: int, labels: npt.NDArray[np.int64]) -> Batch:
    per_view = [torch.stack([image[0][number] for image in made]) for number in range(len(made[0][0]))]
    indices = np.array([image[3] for image in made], dtype=np.int64)
    local = torch.stack(per_view[views:]) if len(per_view) > views else torch.empty(0, len(made), 3, 0, 0, dtype=torch.uint8)
    return Batch(
        views=torch.stack(per_view[:views]),
        local=local,
        boxes=torch.tensor([[image[1][number] for image in made] for number in range(views)]),
        flips=torch.tensor([[image[2][number] for image in made] for number in range(views)]),
        labels=torch.from_numpy(labels[indices]),
        indices=torch.from_numpy(indices),
    )
