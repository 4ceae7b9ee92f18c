"""Whole images to descriptors with a frozen backbone: computed once, kept by content, resumed where they stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import adaptive_avg_pool2d, normalize

from models.backbone import Backbone
from models.errors import StegoError
from pretrain.curate.copies import copy_seed, make_copy
from pretrain.curate.vectors import Row, VectorStore
from stego_app.features import device_of, precision_of, resize_for_backbone
from stego_app.features.location import default_cache_folder
from stego_app.images import read_image
from stego_app.progress import Progress, silent
from stego_app.read_ahead import read_ahead

Pixels = npt.NDArray[np.uint8]
Halves = npt.NDArray[np.float16]
Known = Callable[[str], bool]
LAYOUT = 3
"""Cells on a side in which patch tokens are averaged for the layout."""
_SHARD_ROWS = 512
_SHARD_SECONDS = 30.0
_STORE_VERSION = 1


@dataclass(frozen=True)
class Loaded:
    """A picture read: its key, its pixels (H, W, 3) unless the key is known, bytes of its file; or the ``reason`` why it cannot be read."""

    name: str
    key: str = ""
    pixels: Pixels | None = None
    size: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class _Waiting:
    """A picture on its way through the backbone: its input (3, h, w); height, width and bytes of what it was, which may take a thousand times the memory."""

    key: str
    pixels: torch.Tensor
    shape: tuple[int, int, int]


Loader = Callable[[Known], Loaded]
"""Reads one picture, decoding it only if its key is not known."""


@dataclass(frozen=True)
class Embedded:
    """Descriptors of pictures.

    Attributes:
        indices: which of the loaders given could be read, rising.
        keys: the key of each of these.
        failures: name and reason of the others.
        store: where the descriptors are.
        computed: pictures computed by this call, the rest were known.
    """

    indices: list[int]
    keys: list[str]
    failures: list[tuple[str, str]]
    store: VectorStore
    computed: int

    def read(self, kind: str, transform: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] | None = None) -> npt.NDArray[Any]:
        """See `VectorStore.read`."""
        return self.store.read(self.keys, kind, transform)


def file_loader(path: Path, copy: str | None = None, seed: int = 0) -> Loader:
    """Reads the file at ``path``, or makes a ``copy`` of its picture (see `pretrain.curate.copies`)."""

    def load(known: Known) -> Loaded:
        try:
            data = path.read_bytes()
        except OSError as error:
            return Loaded(str(path), reason=error.strerror or str(error))
        content = hashlib.sha256(data).hexdigest()
        key = content if copy is None else f"{content}#{copy}{seed}"
        if known(key):
            return Loaded(str(path), key)
        try:
            pixels = read_image(data, name=str(path))
        except StegoError as error:
            return Loaded(str(path), key, reason=str(error).removeprefix(f"{path}: "))
        if copy is not None:
            pixels = make_copy(pixels, copy, copy_seed(content, seed))
        return Loaded(str(path), key, pixels, len(data))

    return load


def refused(name: str, reason: str) -> Loader:
    """In place of a picture that cannot be used for this ``reason``."""
    return lambda _known: Loaded(name, reason=reason)


def pixel_loader(name: str, read: Callable[[], Pixels]) -> Loader:
    """Takes the picture that ``read`` gives, known by its pixels: for sources that are no files."""

    def load(_known: Known) -> Loaded:
        try:
            pixels = read()
        except StegoError as error:
            return Loaded(name, reason=str(error).removeprefix(f"{name}: "))
        key = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        return Loaded(name, key, pixels, pixels.nbytes)

    return load


class Embedder:
    """A backbone on its device, with the store of what it has computed.

    Every picture is resized to a square of ``resolution`` pixels, whole and without regard to its aspect ratio: copies
    of other sizes then come out alike, and batches have one size.
    """

    def __init__(self, backbone: Backbone, *, resolution: int = 224, device: str = "auto", batch_size: int = 16, cache: Path | None = None) -> None:
        """Raises StegoError: unknown device, a resolution below one patch, or a batch size that is not positive."""
        if batch_size < 1:
            raise StegoError(f"batch size {batch_size}: expected at least 1")
        if resolution < backbone.patch_size:
            raise StegoError(f"resolution {resolution}: expected at least one patch of {backbone.patch_size} pixels")
        self.device = device_of(device)
        self.precision = precision_of("auto", self.device)
        self.backbone = backbone.to(self.device).eval()
        self.resolution, self.batch_size = resolution, batch_size
        settings = {"store": _STORE_VERSION, "backbone": backbone.fingerprint, "resolution": resolution, "precision": self.precision}
        name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        self.store = VectorStore((cache or default_cache_folder()) / "descriptors" / name)

    def embed(self, loaders: Sequence[Loader], progress: Progress = silent, stage: str = "descriptors") -> Embedded:
        """Descriptors of all pictures; known ones are not decoded.

        Memory is bounded by a few batches of pictures and one shard. Whole batches are cut in the order given, so a run that
        goes on after an interruption meets the batches of an uninterrupted one.
        """
        indices: list[int] = []
        keys: list[str] = []
        failures: list[tuple[str, str]] = []
        batch: list[_Waiting] = []
        queued: set[str] = set()
        computed, flushed = 0, time.monotonic()
        try:
            stream = read_ahead(loaders, self._prepare, ahead=2 * self.batch_size)
            for done, (loaded, waiting) in enumerate(stream, start=1):
                if loaded.reason is not None:
                    failures.append((loaded.name, loaded.reason))
                else:
                    indices.append(done - 1)
                    keys.append(loaded.key)
                    if waiting is not None and loaded.key not in self.store and loaded.key not in queued:
                        batch.append(waiting)
                        queued.add(loaded.key)
                if len(batch) == self.batch_size:
                    computed += self._run(batch)
                    batch, queued = [], set()
                    if self.store.waiting >= _SHARD_ROWS or time.monotonic() - flushed > _SHARD_SECONDS:
                        self.store.flush()
                        flushed = time.monotonic()
                progress(stage, done, len(loaders))
        except KeyboardInterrupt:
            self.store.flush()  # keep what was computed
            raise
        computed += self._run(batch) if batch else 0
        self.store.flush()
        return Embedded(indices, keys, failures, self.store, computed)

    def _prepare(self, loader: Loader) -> tuple[Loaded, _Waiting | None]:
        loaded = loader(self.store.__contains__)
        if loaded.pixels is None:
            return loaded, None
        height, width = loaded.pixels.shape[:2]
        resized = resize_for_backbone(np.ascontiguousarray(loaded.pixels), (self.resolution, self.resolution), self.backbone.patch_size)
        return replace(loaded, pixels=None), _Waiting(loaded.key, resized, (height, width, loaded.size))

    def _run(self, batch: Sequence[_Waiting]) -> int:
        images = torch.stack([waiting.pixels for waiting in batch]).to(self.device)
        described = describe(self.backbone, images, lowered=self.precision == "bf16")
        for waiting, cls, pooled, layout in zip(batch, *described, strict=True):
            self.store.add(Row(waiting.key, cls, pooled, layout, waiting.shape))
        return len(batch)


@torch.inference_mode()
def describe(backbone: Backbone, images: torch.Tensor, *, lowered: bool = False) -> tuple[Halves, Halves, Halves]:
    """Descriptors of ``images`` (B, 3, H, W) in [0, 1]: CLS tokens (B, C), mean unit patch tokens (B, C), layouts (B, 6 C).

    The layout is the mean of unit patch tokens in each of 3 × 3 cells, averaged with its own mirror image, of which the
    left and the middle column are kept: where things are, whether or not the picture was flipped. It costs no second pass.

    Raises:
        StegoError: the backbone gives values that are not finite.
    """
    with torch.autocast(images.device.type, torch.bfloat16, enabled=lowered):
        output = backbone(images)
    patches, cls = output.patches.float(), output.cls.float()
    if not (torch.isfinite(patches).all() and torch.isfinite(cls).all()):
        raise StegoError(f"backbone {backbone.spec.architecture}: its features are not finite numbers; the weights are damaged")
    tokens = normalize(patches, dim=1)
    cells = adaptive_avg_pool2d(tokens, LAYOUT)
    layout = ((cells + cells.flip(-1)) / 2)[..., : (LAYOUT + 1) // 2].flatten(1)
    described = [part.half().cpu().numpy() for part in (normalize(cls, dim=1), tokens.mean(dim=(2, 3)), layout)]
    return described[0], described[1], described[2]
