"""SimCLR: two views of an image agree more than views of different images."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from pydantic import Field

from pretrain.augment import simclr_crop
from pretrain.batches import Batch, ViewPlan
from pretrain.encoder import Encoder
from pretrain.methods.base import Defaults, Method, Options, Setting, Step, full_precision
from pretrain.settings import PretrainConfig


class SimClrOptions(Options):
    """``temperature`` of the softmax over similarities; widths of the head."""

    temperature: float = Field(default=0.2, gt=0)
    hidden: int = Field(default=2048, ge=1)
    projection: int = Field(default=128, ge=2)
    smallest_crop: float = Field(default=0.2, gt=0, le=1)


class SimClr(Method):
    """Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020, equation 1."""

    name = "simclr"
    paper = "Chen et al. 2020, arXiv:2002.05709"
    options = SimClrOptions
    defaults = Defaults(learning_rate=5e-4, weight_decay=0.05)
    head_layers: ClassVar[int] = 2

    def __init__(self, encoder: Encoder, setting: Setting) -> None:
        super().__init__(encoder, setting)
        options = setting.options
        self.head = SimCLRProjectionHead(encoder.dim, options.hidden, options.projection, num_layers=self.head_layers)
        self.criterion = NTXentLoss(temperature=options.temperature, gather_distributed=True)

    @classmethod
    def plan(cls, config: PretrainConfig, options: Any) -> ViewPlan:
        crop = simclr_crop(config.image_size, (options.smallest_crop, 1.0))
        return ViewPlan((crop, crop))

    def forward(self, batch: Batch) -> Step:
        projected = self.head(self.pooled(batch.views.flatten(0, 1)))
        with full_precision(projected):
            first, second = projected.float().chunk(2)
            loss: torch.Tensor = self.criterion(first, second)
        return Step(loss, {})
