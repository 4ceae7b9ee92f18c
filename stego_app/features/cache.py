"""The feature cache: patch features of a set of images, computed once, kept on disk, read through memory maps."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from models.backbone import Backbone
from models.errors import StegoError
from stego_app.atomic import remove_stale_parts
from stego_app.features.extract import Precision, Resolution, device_of, extract_features, precision_of
from stego_app.features.location import default_cache_folder
from stego_app.features.reading import Crops, Prepared, crop_keys, prepare
from stego_app.features.shards import Block, Entry, Shard, read_entries, write_shard
from stego_app.progress import Progress
from stego_app.read_ahead import read_ahead

SHARD_BYTES = 32_000_000
_OPEN_SHARDS = 100
"""Shards that a cache holds open: each takes one of the files that a process may open, of which macOS gives 256."""
_STORE_VERSION = 1


class Failure(NamedTuple):
    """An image that could not be read, and why."""

    path: Path
    reason: str


class NothingReadError(StegoError):
    """Not one image could be read; ``failures`` says why."""

    def __init__(self, message: str, failures: Sequence[Failure]) -> None:
        super().__init__(message)
        self.failures = list(failures)


class FeatureCache:
    """Patch features of a list of images, or of their crops; a view of a store that may hold more.

    Attributes:
        keys: content key of each entry (SHA-256 of the file's bytes; ``…#crop0`` to ``…#crop4`` with five crops).
        paths: the image of each entry.
        failures: images that could not be read.
        dim: channels C of a token.
        computed: entries that this build computed, the rest were known.
    """

    def __init__(self, entries: Sequence[Entry], paths: Sequence[Path], failures: Sequence[Failure], dim: int, computed: int) -> None:
        self._entries = list(entries)
        self.keys = [entry.key for entry in entries]
        self.paths = list(paths)
        self.failures = list(failures)
        self.dim = dim
        self.computed = computed
        self._shard = lru_cache(_OPEN_SHARDS)(_opened)
        self._pooled: npt.NDArray[np.float32] | None = None

    @classmethod
    def build(
        cls,
        paths: Sequence[Path],
        backbone: Backbone,
        *,
        resolution: Resolution = 320,
        crops: Crops = "none",
        device: str = "auto",
        precision: Precision = "auto",
        flip: bool = False,
        brighten: bool = False,
        batch_size: int = 16,
        folder: Path | None = None,
        read: Callable[[Path], npt.NDArray[np.uint8]] | None = None,
        progress: Progress | None = None,
    ) -> FeatureCache:
        """Features of ``paths``: known ones from the store in ``folder``, the rest computed and added to it.

        What is stored depends on the bytes of a file, the weights and block of the backbone, and the settings; not on names
        or dates. A build that was killed goes on where it stopped: at most the shard being filled is lost. Memory is bounded
        by a few batches of images and one shard. The same files in the same order on the same machine give the same bits.

        Args:
            paths: image files; unreadable ones go to ``failures``.
            backbone: moved to ``device``.
            resolution: pixels of the short side, or an exact (height, width).
            crops: "none", or "five": the four corners and the centre, each of half size and an entry of its own.
            device: "auto", "cpu", "cuda" or "mps".
            precision: "auto", "fp32" or "bf16".
            flip: average with the features of the mirrored image.
            brighten: dark images; see `stego_app.features.exposure.brightened`.
            batch_size: images a forward pass.
            folder: where the store lies; `default_cache_folder` if not given.
            read: how a file becomes an image (H, W, 3) uint8, for data sets whose tiles are no pictures; `read_image` if not given.
            progress: called as ``progress("features", done, total)`` in files.

        Raises:
            NothingReadError: no file could be read.
            StegoError: the store cannot be written; device, precision or resolution do not exist.
        """
        where = device_of(device)
        resolved = precision_of(precision, where)
        store = (folder or default_cache_folder()) / "features" / _settings_key(backbone, resolution, crops, resolved, flip, brighten)
        builder = _Builder(store, backbone.to(where), where, resolved, flip, batch_size)
        workload = partial(prepare, known=builder.known, resolution=resolution, patch=backbone.patch_size, crops=crops, brighten=brighten, read=read)
        taken, failures = builder.take(paths, workload, crops, progress)
        if not taken:
            raise NothingReadError(_nothing_read(failures), failures)
        wanted = [(key, path) for path, content in taken for key in crop_keys(content, crops)]
        return cls([builder.entries[key] for key, _ in wanted], [path for _, path in wanted], failures, backbone.dim, builder.computed)

    def __len__(self) -> int:
        """Number of entries: images, or crops."""
        return len(self._entries)

    def grid(self, index: int) -> tuple[int, int]:
        """Height and width of the grid of patches of entry ``index``."""
        return self._entries[index].height, self._entries[index].width

    def tokens(self, index: int) -> npt.NDArray[np.float16]:
        """Tokens (h·w, C) of entry ``index`` in reading order: a read-only view of the file."""
        entry = self._entries[index]
        return self._shard(entry.shard).tokens[entry.start : entry.start + entry.height * entry.width]

    @property
    def pooled(self) -> npt.NDArray[np.float32]:
        """One unit vector an entry, (N, C): the normalised mean of its unit tokens."""
        if self._pooled is None:
            self._pooled = np.empty((len(self), self.dim), np.float32)
            by_shard: dict[Path, list[int]] = {}
            for index, entry in enumerate(self._entries):
                by_shard.setdefault(entry.shard, []).append(index)
            for path, indices in by_shard.items():
                self._pooled[indices] = self._shard(path).pooled[[self._entries[index].row for index in indices]]
        return self._pooled

    def sample(self, n_tokens: int, seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Tokens drawn without replacement, each equally likely.

        Returns:
            tokens (n, C) in random order, and the entry (n,) each comes from; n is ``n_tokens``, or all there are.
        """
        ends = np.cumsum([entry.height * entry.width for entry in self._entries])
        total = int(ends[-1])
        random = np.random.default_rng(seed)
        chosen = np.sort(random.choice(total, min(n_tokens, total), replace=False, shuffle=False))
        owners = np.searchsorted(ends, chosen, side="right")
        tokens = np.empty((len(chosen), self.dim), np.float32)
        drawn, begins = np.unique(owners, return_index=True)  # owners are in order, so those of an entry are one slice
        for index, begin, end in zip(drawn.tolist(), begins, [*begins[1:], len(chosen)], strict=True):
            first = int(ends[index]) - self._entries[index].height * self._entries[index].width
            tokens[begin:end] = self.tokens(index)[chosen[begin:end] - first]
        order = random.permutation(len(chosen))
        return tokens[order], owners[order].astype(np.int64)

    def subset(self, indices: Sequence[int]) -> FeatureCache:
        """A view of the entries ``indices``, in that order."""
        return FeatureCache([self._entries[i] for i in indices], [self.paths[i] for i in indices], [], self.dim, 0)


class _Builder:
    """Collects inputs into batches of one size, runs them, and writes full shards.

    Batches of a size are cut from the files in order and only whole batches are written, so a resumed build of images of one
    size meets the same batches as an uninterrupted one and gives the same bits, wherever it was interrupted.
    """

    def __init__(self, store: Path, backbone: Backbone, device: torch.device, precision: Literal["fp32", "bf16"], flip: bool, batch_size: int) -> None:
        if batch_size < 1:
            raise StegoError(f"batch size {batch_size}: expected at least 1")
        self.store, self.backbone, self.device, self.precision, self.flip, self.batch_size = store, backbone, device, precision, flip, batch_size
        remove_stale_parts(store)
        self.entries: dict[str, Entry] = read_entries(store)
        self.computed = 0
        self._queued: set[str] = set()
        self._waiting: OrderedDict[tuple[int, ...], list[tuple[str, torch.Tensor]]] = OrderedDict()
        self._blocks: list[Block] = []

    def known(self, key: str) -> bool:
        return key in self.entries

    def take(
        self, paths: Sequence[Path], workload: Callable[[Path], Prepared], crops: Crops, progress: Progress | None
    ) -> tuple[list[tuple[Path, str]], list[Failure]]:
        """Store the features of all ``paths``; returns (file, content key) of those that could be read, and the others."""
        taken: list[tuple[Path, str]] = []
        failures: list[Failure] = []
        try:
            stream = read_ahead(paths, workload, ahead=max(4, 2 * self.batch_size // len(crop_keys("", crops))))
            for done, item in enumerate(stream, start=1):
                if item.reason is not None:
                    failures.append(Failure(item.path, item.reason))
                else:
                    taken.append((item.path, item.content))
                    self.add(item, crops)
                if progress is not None:
                    progress("features", done, len(paths))
        except KeyboardInterrupt:
            self.flush()  # keep whole batches already computed
            raise
        self.finish()
        return taken, failures

    def add(self, item: Prepared, crops: Crops) -> None:
        """Queue the inputs of a file, unless they are stored or queued already; run the batches that are full."""
        if not item.inputs:
            return
        for key, image in zip(crop_keys(item.content, crops), item.inputs, strict=True):
            if key in self.entries or key in self._queued:
                continue
            self._queued.add(key)
            queue = self._waiting.setdefault(tuple(image.shape), [])
            queue.append((key, image))
            if len(queue) == self.batch_size:
                self._run(self._waiting.pop(tuple(image.shape)))
        # Folders of photos of many sizes must not pile up: what waits is bounded by a few batches.
        while sum(len(queue) for queue in self._waiting.values()) >= 4 * self.batch_size:
            self._run(self._waiting.popitem(last=False)[1])

    def finish(self) -> None:
        """Run what waits and write the last shard."""
        while self._waiting:
            self._run(self._waiting.popitem(last=False)[1])
        self.flush()

    def flush(self) -> None:
        """Write the features computed so far as a shard."""
        if not self._blocks:
            return
        name = hashlib.sha256("|".join(block.key for block in self._blocks).encode()).hexdigest()[:24]
        path = write_shard(self.store, name, self._blocks)
        start = 0
        for row, block in enumerate(self._blocks):
            self.entries[block.key] = Entry(block.key, block.height, block.width, path, row, start)
            start += block.height * block.width
        self._blocks = []

    def _run(self, batch: list[tuple[str, torch.Tensor]]) -> None:
        images = [image for _, image in batch]
        features = extract_features(self.backbone, images, device=self.device, precision=self.precision, flip=self.flip, batch_size=self.batch_size)
        self._blocks += [_block(key, feature) for (key, _), feature in zip(batch, features, strict=True)]
        self.computed += len(batch)
        if sum(block.tokens.nbytes for block in self._blocks) >= SHARD_BYTES:
            self.flush()


def _opened(path: Path) -> Shard:
    try:
        return Shard(path)
    except (OSError, ValueError, KeyError) as error:
        raise StegoError(f"{path}: the feature cache was removed or damaged while in use ({error}); run again to compute it anew") from error


def _block(key: str, feature: torch.Tensor) -> Block:
    """Features (C, h, w) of one entry as stored."""
    channels, height, width = feature.shape
    tokens = feature.reshape(channels, -1).T.contiguous()
    pooled = torch.nn.functional.normalize(torch.nn.functional.normalize(tokens, dim=1).mean(0), dim=0)
    return Block(key, height, width, tokens.half().numpy(), pooled.numpy())


def _settings_key(backbone: Backbone, resolution: Resolution, crops: Crops, precision: str, flip: bool, brighten: bool) -> str:
    """The sub-folder of the store: everything but the image that features depend on."""
    settings = {
        "store": _STORE_VERSION,
        "backbone": backbone.fingerprint,
        "resolution": resolution if isinstance(resolution, int) else list(resolution),
        "crops": crops,
        "precision": precision,
        "flip": flip,
        **({"brighten": True} if brighten else {}),  # so that stores made before there was such a thing are still found
    }
    return f"{backbone.fingerprint}-{hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]}"


def _nothing_read(failures: Sequence[Failure]) -> str:
    if not failures:
        return "no images given: expected at least one image file"
    first = failures[0]
    return f"{first.path}: {first.reason}" if len(failures) == 1 else f"none of {len(failures)} images could be read; the first: {first.path}: {first.reason}"
