"""VICReg: views agree, every channel varies, and channels do not covary. The two branches may be different networks on different sensors."""

from __future__ import annotations

import copy
from typing import Any

import torch
from lightly.loss import VICRegLoss
from lightly.models.modules.heads import VICRegProjectionHead
from pydantic import Field

from pretrain.batches import Batch, ViewPlan
from pretrain.encoder import Encoder
from pretrain.methods.base import Defaults, Method, Setting, Step, full_precision
from pretrain.methods.common import TwoViewOptions, two_views
from pretrain.settings import PretrainConfig


class VicRegOptions(TwoViewOptions):
    """``invariance``, ``variance`` and ``covariance`` are the weights lambda, mu and nu; ``projection`` is the head's width (8192 in the paper)."""

    invariance: float = Field(default=25.0, ge=0)
    variance: float = Field(default=25.0, ge=0)
    covariance: float = Field(default=1.0, ge=0)
    projection: int = Field(default=2048, ge=2)


class VicReg(Method):
    """Bardes et al., VICReg, ICLR 2022, equations 1 to 6.

    With ``--pair`` the second view is of the second modality, and goes through a network of its own (section 4.2: branches need share nothing).
    """

    name = "vicreg"
    paper = "Bardes et al. 2022, arXiv:2105.04906"
    options = VicRegOptions
    takes_pair = True
    defaults = Defaults(learning_rate=5e-4, weight_decay=0.05)

    def __init__(self, encoder: Encoder, setting: Setting) -> None:
        super().__init__(encoder, setting)
        options = setting.options
        self.head = VICRegProjectionHead(encoder.dim, options.projection, options.projection)
        paired = setting.config.pair is not None
        self.second_encoder = copy.deepcopy(encoder) if paired else None
        self.second_head = VICRegProjectionHead(encoder.dim, options.projection, options.projection) if paired else None
        self.criterion = VICRegLoss(options.invariance, options.variance, options.covariance, gather_distributed=True)

    @classmethod
    def plan(cls, config: PretrainConfig, options: Any) -> ViewPlan:
        return two_views(config, options)

    def forward(self, batch: Batch) -> Step:
        first, second = self._branches(batch)
        with full_precision(first):
            loss = self.criterion(first.float(), second.float())
        return Step(loss, {})

    def _branches(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        if self.second_encoder is None or self.second_head is None:
            first, second = self.head(self.pooled(batch.views.flatten(0, 1))).chunk(2)
            return first, second
        other = self.second_encoder
        return self.head(self.pooled(batch.views[0])), self.second_head(other.pool(other(batch.views[1]), self.pooling))
