"""Parts several methods share: the two-view plan, the EMA momentum's option, masks of patches."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field

from models.errors import StegoError
from pretrain.augment import Crop, simclr_crop
from pretrain.batches import ViewPlan
from pretrain.methods.base import Options, Shares
from pretrain.settings import PretrainConfig


class TwoViewOptions(Options):
    """``smallest_crop`` is the least share of the image a view shows."""

    smallest_crop: float = Field(default=0.2, gt=0, le=1)


class MomentumOptions(Options):
    """``momentum`` of the teacher at the start of its cosine to 1; see `pretrain.schedules.teacher_momentum` for None."""

    momentum: float | None = Field(default=None, ge=0, lt=1)


class MultiCropOptions(Options):
    """``local_crops`` small views beside two global ones (Caron et al., 2020, section 3.2); scales are shares of the image's area."""

    local_crops: int = Field(default=6, ge=0)
    local_size: int | None = Field(default=None, ge=1)
    global_scale: Shares = (0.4, 1.0)
    local_scale: Shares = (0.05, 0.4)


def two_views(config: PretrainConfig, options: Any) -> ViewPlan:
    """Two of SimCLR's views."""
    crop = simclr_crop(config.image_size, (options.smallest_crop, 1.0))
    return ViewPlan((crop, crop))


def multi_crop(config: PretrainConfig, options: Any, size: int | None = None) -> ViewPlan:
    """Two global views and ``options.local_crops`` local ones, of 3/7 of their side (96 for 224) in whole patches.

    Blur and solarization as in BYOL and DINO: always, seldom and with solarization, half the time.

    Raises:
        StegoError: the side of the global or local views is not a multiple of the patch.
    """
    side, patch = size or config.image_size, config.patch_size or 1
    small = options.local_size or max(patch, round(side * 3 / 7 / patch) * patch)
    for name, pixels in (("high_resolution", side), ("local_size", small)):
        if pixels % patch:
            raise StegoError(f"option of '{config.method}' '{name}': {pixels} pixels; expected a multiple of the patch of {patch}")
    blurs = side >= 64
    common: dict[str, Any] = {"jitter": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1, "grey": 0.2}
    first = Crop(side, options.global_scale, blur=1.0 if blurs else 0.0, **common)
    second = Crop(side, options.global_scale, blur=0.1 if blurs else 0.0, solarize=0.2, **common)
    local = Crop(small, options.local_scale, blur=0.5 if blurs else 0.0, **common)
    return ViewPlan((first, second), (local,) * options.local_crops)


def random_keep(count: int, tokens: int, ratio: float, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """For each of ``count`` images, a random split of ``tokens`` patches: kept (count, K) and masked (count, M) indices, M = round(ratio · tokens)."""
    order = torch.rand(count, tokens, device=device).argsort(dim=1)
    kept = tokens - round(ratio * tokens)
    return order[:, :kept].sort(dim=1).values, order[:, kept:].sort(dim=1).values


def patchify(images: torch.Tensor, patch: int) -> torch.Tensor:
    """Images (B, 3, S, S) to patches (B, N, patch² · 3), rows first, the colours of a pixel together."""
    count, channels, height, width = images.shape
    grid = images.reshape(count, channels, height // patch, patch, width // patch, patch)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(count, -1, patch * patch * channels)
