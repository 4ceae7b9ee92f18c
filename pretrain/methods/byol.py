"""BYOL: predict the projection that an averaged copy of the network gives another view."""

from __future__ import annotations

from typing import Any

import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
from pydantic import Field
from torch import nn

from pretrain.augment import byol_crops
from pretrain.batches import Batch, ViewPlan
from pretrain.encoder import Encoder
from pretrain.methods.base import Defaults, Method, Setting, Step, full_precision
from pretrain.methods.common import MomentumOptions
from pretrain.methods.teacher import Teacher
from pretrain.schedules import teacher_momentum
from pretrain.settings import PretrainConfig


class ByolOptions(MomentumOptions):
    """Widths of the heads (4096 and 256 in the paper) beside the momentum."""

    hidden: int = Field(default=2048, ge=1)
    projection: int = Field(default=256, ge=2)
    smallest_crop: float = Field(default=0.2, gt=0, le=1)


class Projector(nn.Module):
    """An encoder, its pooled output projected: what BYOL averages into its target."""

    def __init__(self, encoder: Encoder, head: nn.Module, pooling: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.pooling = pooling

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Projections (B, D) of ``images`` (B, 3, S, S) uint8."""
        projected: torch.Tensor = self.head(self.encoder.pool(self.encoder(images), self.pooling))
        return projected


class Byol(Method):
    """Grill et al., Bootstrap Your Own Latent, NeurIPS 2020, equation 2, for both orders of the views."""

    name = "byol"
    paper = "Grill et al. 2020, arXiv:2006.07733"
    options = ByolOptions
    defaults = Defaults(learning_rate=5e-4, weight_decay=0.05)

    def __init__(self, encoder: Encoder, setting: Setting) -> None:
        super().__init__(encoder, setting)
        options = setting.options
        self.momentum = options.momentum
        self.online = Projector(encoder, BYOLProjectionHead(encoder.dim, options.hidden, options.projection), self.pooling)
        self.predictor = BYOLPredictionHead(options.projection, options.hidden, options.projection)
        self.target = Teacher(self.online)
        self.criterion = NegativeCosineSimilarity()

    @classmethod
    def plan(cls, config: PretrainConfig, options: Any) -> ViewPlan:
        return ViewPlan(byol_crops(config.image_size, (options.smallest_crop, 1.0)))

    def forward(self, batch: Batch) -> Step:
        images = batch.views.flatten(0, 1)
        predicted, wanted = self.predictor(self.online(images)), self.target(images)
        with full_precision(predicted):
            (first, second), (target_first, target_second) = predicted.float().chunk(2), wanted.float().chunk(2)
            # |p/|p| - z/|z||² = 2 - 2 cos(p, z)
            loss = 4 + 2 * self.criterion(first, target_second) + 2 * self.criterion(second, target_first)
        return Step(loss, {})

    def after_step(self) -> None:
        self.target.follow(self.online, teacher_momentum(self.momentum, self.clock.steps, self.clock.progress))
