"""Augmented views of a folder's images, addressed by step: a resumed run sees the same batches as an unbroken one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from models.errors import StegoError
from pretrain.bank import Bank
from stego_app.images import find_images, read_image

ATTEMPTS = 20
MAX_ENLARGING = 1.75  # crops are not blown up further than this where the picture is large enough
MIN_AREA = 0.2
FLIP, JITTER, JITTER_STRENGTH = 0.5, 0.5, 0.25


def gather_images(folders: Sequence[Path], holdout_every: int) -> tuple[list[Path], list[Path]]:
    """Paths to train on and paths held out: every ``holdout_every``-th of all, in the order of the folders.

    Raises:
        StegoError: a folder is missing, is not one, or holds no images.
    """
    paths = [path for folder in folders for path in find_images(folder)]
    held = paths[holdout_every - 1 :: holdout_every]
    kept = set(held)
    return [path for path in paths if path not in kept], held


class ImageBank(Bank[np.ndarray]):
    """Decoded images (H, W, 3) uint8 by index, their short side at most ``side``."""

    def __init__(self, paths: Sequence[Path], side: int, budget: float) -> None:
        super().__init__(paths, budget)
        self.side = side

    def read(self, index: int) -> np.ndarray:
        """Image ``index`` as it is stored, (H, W, 3) uint8.

        Raises:
            ImageError: it cannot be read.
        """
        return read_image(self.paths[index])

    def load(self, index: int) -> np.ndarray:
        return _shrink(self.read(index), self.side)

    def size_of(self, item: np.ndarray) -> int:
        return item.nbytes


def _shrink(pixels: np.ndarray, side: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    scale = side / min(height, width)
    if scale >= 1:
        return pixels
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def random_view(pixels: np.ndarray, height: int, width: int, rng: np.random.Generator) -> torch.Tensor:
    """A random resized crop of (H, W, 3) uint8 ``pixels``, maybe flipped and lightly jittered: (3, height, width) in [0, 1]."""
    rows, columns = pixels.shape[:2]
    smallest = height * width / MAX_ENLARGING**2 / (rows * columns)
    area = rows * columns * rng.uniform(min(1.0, max(MIN_AREA, smallest)), 1.0)
    aspect = width / height * np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    crop_w, crop_h = min(columns, np.sqrt(area * aspect)), min(rows, np.sqrt(area / aspect))
    left, top = rng.uniform(0, columns - crop_w), rng.uniform(0, rows - crop_h)
    box = (left, top, left + crop_w, top + crop_h)
    view = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC, box=box), dtype=np.float32) / 255
    if rng.random() < FLIP:
        view = view[:, ::-1]
    if rng.random() < JITTER:
        view = _jitter(view, rng)
    return torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1)))


def _jitter(view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and saturation, each by a factor of 1 ± JITTER_STRENGTH."""
    brightness, contrast, saturation = rng.uniform(1 - JITTER_STRENGTH, 1 + JITTER_STRENGTH, 3).astype(np.float32)
    view = view * brightness
    view = (view - view.mean()) * contrast + view.mean()
    grey = view.mean(axis=2, keepdims=True)
    jittered: np.ndarray = np.clip((view - grey) * saturation + grey, 0, 1)
    return jittered


class ViewSchedule:
    """Which images, at which size, belong to a step: a pure function of the seed and the step.

    Every ``len(grids)`` steps visit each size once, in an order of their own, and images are dealt in epochs of
    random order; so the number of images before a step has a closed form and nothing needs to be stored.
    """

    def __init__(self, count: int, grids: Sequence[tuple[int, int]], tokens: int, seed: int) -> None:
        self.count = count
        self.grids = list(grids)
        self.batches = [max(1, tokens // (rows * columns)) for rows, columns in grids]
        self.seed = seed

    def at(self, step: int) -> tuple[tuple[int, int], list[int]]:
        """The grid (rows, columns in patches) of ``step`` and the indices of its images."""
        cycle, offset = divmod(step, len(self.grids))
        order = np.random.default_rng((self.seed, 1, cycle)).permutation(len(self.grids))
        first = cycle * sum(self.batches) + sum(self.batches[index] for index in order[:offset])
        chosen = int(order[offset])
        return self.grids[chosen], [self._dealt(first + slot) for slot in range(self.batches[chosen])]

    def _dealt(self, position: int) -> int:
        epoch, place = divmod(position, self.count)
        return int(epoch_order(self.seed, epoch, self.count)[place])


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order (count,) in which the images of an epoch are dealt: a function of the seed alone."""
    return np.random.default_rng((seed, 2, epoch)).permutation(count)


class ViewDataset(Dataset[torch.Tensor]):
    """Whole batches of views by step, from ``start`` on: item i is (B, 3, H, W) in [0, 1] of step ``start + i``."""

    def __init__(self, bank: ImageBank, schedule: ViewSchedule, patch: int, start: int, steps: int) -> None:
        self.bank = bank
        self.schedule = schedule
        self.patch = patch
        self.start = start
        self.steps = steps
        self.pool = ThreadPoolExecutor(max_workers=min(4, max(1, torch.get_num_threads())))

    def __len__(self) -> int:
        return self.steps - self.start

    def __getitem__(self, item: int) -> torch.Tensor:
        step = self.start + item
        (rows, columns), indices = self.schedule.at(step)
        size = (rows * self.patch, columns * self.patch)
        views = self.pool.map(lambda pair: self._view(step, pair[0], pair[1], size), enumerate(indices))
        return torch.stack(list(views))

    def _view(self, step: int, slot: int, index: int, size: tuple[int, int]) -> torch.Tensor:
        rng = np.random.default_rng((self.schedule.seed, 3, step, slot))
        for _ in range(ATTEMPTS):
            pixels = self.bank.get(index)
            if pixels is not None:
                return random_view(pixels, *size, rng)
            index = int(rng.integers(len(self.bank)))
        raise StegoError(f"{ATTEMPTS} images in a row cannot be read, the last of them: {next(reversed(self.bank.skipped.values()))}")
