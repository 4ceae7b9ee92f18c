"""Crop pairs kept on disk: they cost three passes of the backbone an image, and depend on nothing but what names the file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.torch import load_file

from models.backbone import Backbone
from models.errors import StegoError
from models.tensor_file import write_tensors
from stego_app.atomic import remove_stale_parts, replacing
from stego_app.discovery.crop_pairs import CropPairs, collect_crop_pairs
from stego_app.features.extract import Precision, device_of, precision_of
from stego_app.images import read_image
from stego_app.progress import Progress, silent

_VERSION = 2
"""Raise it whenever `collect_crop_pairs` gives other pairs for the same arguments."""

LIMIT = 120
"""Images to take views of."""


def cached_crop_pairs(
    folder: Path,
    content_keys: Sequence[str],
    paths: Sequence[Path],
    backbone: Backbone,
    *,
    resolution: int,
    seed: int,
    device: str = "auto",
    precision: Precision = "auto",
    brighten: bool = False,
    limit: int = LIMIT,
    read: Callable[[Path], npt.NDArray[np.uint8]] = read_image,
    progress: Progress = silent,
) -> CropPairs:
    """`collect_crop_pairs`, read back from ``folder`` where the same was collected before.

    Args:
        folder: of the cache.
        content_keys: what names the images by their content, in the order of ``paths``.
        paths: image files.
        backbone, resolution, seed, device, precision, brighten, limit, read, progress: see `collect_crop_pairs`.

    Raises:
        StegoError: no image could be read, or the cache cannot be written.
    """
    # "auto" is another precision on another device, so what it comes to is what names the file.
    resolved = precision_of(precision, device_of(device))
    names = [_VERSION, list(content_keys), backbone.fingerprint, resolution, seed, resolved, brighten, limit]
    path = folder / "pairs" / f"{hashlib.sha256(json.dumps(names).encode()).hexdigest()[:24]}.safetensors"
    remove_stale_parts(path.parent)
    if path.is_file():
        try:
            kept = load_file(str(path))
            return CropPairs(kept["first"].float(), kept["second"].float())
        except (SafetensorError, KeyError, OSError):
            path.unlink(missing_ok=True)  # damaged: collected anew below
    pairs = collect_crop_pairs(
        paths, backbone, resolution=resolution, limit=limit, seed=seed, device=device, precision=resolved, brighten=brighten, read=read, progress=progress
    )
    try:
        with replacing(path) as part:
            write_tensors(part, {"first": pairs.first.half().contiguous(), "second": pairs.second.half().contiguous()})
    except (OSError, SafetensorError) as error:
        raise StegoError(f"{folder}: the cache cannot be written ({error}); free some disk or choose another folder with --cache") from error
    # What a later run reads back is what this one uses: half precision, so that both give the same bits.
    return CropPairs(pairs.first.half().float(), pairs.second.half().float())
