"""SimMIM: replace large squares by a mask token, and guess their pixels with one linear layer."""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import Field
from torch import nn

from models.errors import StegoError
from pretrain.augment import plain_crop
from pretrain.batches import Batch, ViewPlan
from pretrain.encoder import Encoder
from pretrain.methods.base import Defaults, Method, Options, Setting, Step, full_precision
from pretrain.methods.common import patchify
from pretrain.settings import PretrainConfig


class SimMimOptions(Options):
    """``mask_unit`` is the side of a masked square in pixels, ``ratio`` the masked share of the squares."""

    mask_unit: int = Field(default=32, ge=1)
    ratio: float = Field(default=0.6, gt=0, lt=1)


class SimMim(Method):
    """Xie et al., SimMIM, CVPR 2022, section 3; equation 2."""

    name = "simmim"
    paper = "Xie et al. 2022, arXiv:2111.09886"
    options = SimMimOptions
    minimum = 1
    defaults = Defaults(learning_rate=4e-4, weight_decay=0.05, betas=(0.9, 0.999))

    def __init__(self, encoder: Encoder, setting: Setting) -> None:
        super().__init__(encoder, setting)
        options, side, patch = setting.options, setting.config.image_size, encoder.patch_size
        if options.mask_unit % patch or side % options.mask_unit or side < 2 * options.mask_unit:
            wanted = f"a multiple of the patch ({patch}) that divides the image's side ({side}) into two or more"
            raise StegoError(f"option of 'simmim' 'mask_unit': {options.mask_unit} pixels; expected {wanted}")
        self.units, self.unit, self.ratio = side // options.mask_unit, options.mask_unit // patch, options.ratio
        encoder.learn_mask_token()
        self.predict = nn.Linear(encoder.dim, patch**2 * 3)

    @classmethod
    def plan(cls, config: PretrainConfig, options: Any) -> ViewPlan:
        del options
        return ViewPlan((plain_crop(config.image_size, (0.67, 1.0)),))

    def forward(self, batch: Batch) -> Step:
        images = batch.views[0]
        mask = unit_mask(len(images), self.units, self.unit, self.ratio, images.device)
        predicted = self.predict(self.encoder(images, mask=mask)[:, self.encoder.prefix :])
        with full_precision(predicted):
            wanted = patchify(self.encoder.normalise(images), self.encoder.patch_size)
            loss = masked_l1(predicted.float(), wanted, mask)
        return Step(loss, {})


def unit_mask(count: int, units: int, unit: int, ratio: float, device: torch.device) -> torch.Tensor:
    """Patches (count, N) bool under random squares: ``ceil(ratio · units²)`` of units × units squares of unit × unit patches are masked."""
    chosen = torch.rand(count, units * units, device=device).argsort(dim=1)[:, : math.ceil(ratio * units * units)]
    squares = torch.zeros(count, units * units, dtype=torch.bool, device=device).scatter(1, chosen, True)
    return squares.view(count, units, units).repeat_interleave(unit, 1).repeat_interleave(unit, 2).flatten(1)


def masked_l1(predicted: torch.Tensor, wanted: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Sum of absolute errors over masked patches of (B, N, P), over the number of their values (equation 2)."""
    errors = (predicted - wanted).abs()[mask]
    return errors.sum() / errors.numel()
