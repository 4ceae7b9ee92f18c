"""Crop pairs kept on disk: they cost three passes of the backbone an image, and depend on nothing but what names the file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from models.backbone import Backbone
from models.errors import StegoError
from stego_app.discovery.crop_pairs import CropPairs, collect_crop_pairs
from stego_app.images import read_image
from stego_app.progress import Progress, silent


def cached_crop_pairs(
    folder: Path,
    content_keys: Sequence[str],
    paths: Sequence[Path],
    backbone: Backbone,
    *,
    resolution: int,
    seed: int,
    device: str = "auto",
    precision: str = "auto",
    read: Callable[[Path], npt.NDArray[np.uint8]] = read_image,
    progress: Progress = silent,
) -> CropPairs:
    """`collect_crop_pairs`, read back from ``folder`` where the same was collected before.

    Args:
        folder: of the cache.
        content_keys: what names the images by their content, in the order of ``paths``.
        paths: image files.
        backbone, resolution, seed, device, precision, read, progress: see `collect_crop_pairs`.

    Raises:
        StegoError: no image could be read, or the cache cannot be written.
    """
    text = "|".join([*content_keys, backbone.fingerprint, str(resolution), str(seed), precision])
    path = folder / "pairs" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.safetensors"
    if path.is_file():
        try:
            kept = load_file(str(path))
            return CropPairs(kept["first"].float(), kept["second"].float())
        except (SafetensorError, KeyError, OSError):
            path.unlink(missing_ok=True)  # damaged: collected anew below
    pairs = collect_crop_pairs(paths, backbone, resolution=resolution, seed=seed, device=device, precision=precision, read=read, progress=progress)
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"first": pairs.first.half().contiguous(), "second": pairs.second.half().contiguous()}, str(part))
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise StegoError(f"{folder}: the cache cannot be written ({error}); free some disk or choose another folder with --cache") from error
    # What a later run reads back is what this one uses: half precision, so that both give the same bits.
    return CropPairs(pairs.first.half().float(), pairs.second.half().float())
