"""Pairs of the same physical point seen in the whole image and in a random crop of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import grid_sample, normalize

from models.backbone import Backbone
from models.errors import StegoError
from stego_app.features.extract import Resolution, device_of, extract_features, resize_for_backbone
from stego_app.images import read_image
from stego_app.progress import Progress, silent

POINTS = 150
_VIEWS = 100
_BATCH_IMAGES = 4


@dataclass(frozen=True)
class CropPairs:
    """Unit tokens of the same points: ``first`` (n, C) in the whole image, ``second`` (n, C) in a crop; float32; rows in the order of images."""

    first: torch.Tensor
    second: torch.Tensor


class Box(NamedTuple):
    """A crop in shares of the image's width and height, possibly mirrored."""

    left: float
    top: float
    width: float
    height: float
    mirrored: bool


def collect_crop_pairs(
    paths: Sequence[Path],
    backbone: Backbone,
    *,
    resolution: Resolution,
    limit: int = 120,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    brighten: bool = False,
    read: Callable[[Path], npt.NDArray[np.uint8]] = read_image,
    progress: Progress = silent,
) -> CropPairs:
    """Views of up to ``limit`` of the images: two crops of each, more of each where there are few images.

    Args:
        paths: image files; unreadable ones are left out.
        backbone: moved to ``device``.
        resolution: as for the features that the pairs are to describe.
        limit: images to take, drawn at random.
        seed: of the draws.
        device, precision: see `stego_app.features.extract_features`.
        brighten: dark images and dark crops, each as an image of its own; see `stego_app.features.exposure.brightened`.
        read: how a file becomes an image (H, W, 3) uint8.
        progress: called as ``progress("views", done, total)`` in images.

    Raises:
        StegoError: no image could be read.
    """
    where = device_of(device)
    backbone = backbone.to(where)
    random = np.random.default_rng(seed)
    chosen = [paths[i] for i in np.sort(random.permutation(len(paths))[:limit])]
    views = max(2, ceil(_VIEWS / max(1, len(chosen))))
    first: list[torch.Tensor] = []
    second: list[torch.Tensor] = []
    reason = "no images given"
    for start in range(0, len(chosen), _BATCH_IMAGES):
        inputs: list[torch.Tensor] = []
        boxes: list[Box] = []
        for path in chosen[start : start + _BATCH_IMAGES]:
            try:
                image = read(path)
            except StegoError as error:
                reason = str(error)
                continue
            drawn = [random_box(random) for _ in range(views)]
            inputs += views_of(image, drawn, resolution, backbone.patch_size, brighten=brighten)
            boxes += drawn
        features = [normalize(tokens, dim=0) for tokens in extract_features(backbone, inputs, device=where, precision=precision)]
        for number, box in enumerate(boxes):
            whole = features[number // views * (views + 1)]
            crop = features[number // views * (views + 1) + 1 + number % views]
            a, b = point_pairs(whole, crop, box, random)
            first.append(a)
            second.append(b)
        progress("views", min(start + _BATCH_IMAGES, len(chosen)), len(chosen))
    if not first:
        raise StegoError(f"no image could be read to learn the metric from ({reason})")
    return CropPairs(torch.cat(first), torch.cat(second))


def random_box(random: np.random.Generator) -> Box:
    """A crop of 0.4 to 0.8 of each side, mirrored in half of the cases."""
    side = random.uniform(0.4, 0.8)
    return Box(random.uniform(0, 1 - side), random.uniform(0, 1 - side), side, side, bool(random.random() < 0.5))


def views_of(image: npt.NDArray[np.uint8], boxes: Sequence[Box], resolution: Resolution, patch: int, *, brighten: bool = False) -> list[torch.Tensor]:
    """The whole image and its crops, all resized to the same input (3, h, w) in [0, 1]."""
    whole = resize_for_backbone(image, resolution, patch, brighten=brighten)
    size = (whole.shape[1], whole.shape[2])
    height, width = image.shape[:2]
    inputs = [whole]
    for box in boxes:
        top, left = int(box.top * height), int(box.left * width)
        bottom, right = max(top + 1, round((box.top + box.height) * height)), max(left + 1, round((box.left + box.width) * width))
        part = resize_for_backbone(np.ascontiguousarray(image[top:bottom, left:right]), size, patch, brighten=brighten)
        inputs.append(part.flip(-1) if box.mirrored else part)
    return inputs


def point_pairs(whole: torch.Tensor, crop: torch.Tensor, box: Box, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of `POINTS` patches of ``crop`` (C, h, w), or all of them, and of ``whole`` (C, h, w) at the same points, bilinear.

    Returns:
        (n, C) in the whole image, (n, C) in the crop.
    """
    height, width = crop.shape[1:]
    chosen = torch.from_numpy(random.permutation(height * width)[:POINTS])
    across = (chosen % width + 0.5) / width
    down = (chosen // width + 0.5) / height
    if box.mirrored:
        across = 1 - across
    points = torch.stack([box.left + across * box.width, box.top + down * box.height], dim=-1) * 2 - 1
    sampled = grid_sample(whole[None], points[None, None].float(), align_corners=False, padding_mode="border")
    return sampled[0, :, 0].T.contiguous(), crop.flatten(1).T[chosen].contiguous()
