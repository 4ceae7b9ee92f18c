"""LeJEPA: views agree and embeddings are isotropic Gaussian; no teacher, no stop-gradient, no temperature."""

from __future__ import annotations

from typing import Any

from lightly.loss import LeJEPALoss
from lightly.models.modules.heads import LeJEPAProjectionHead
from pydantic import Field

from pretrain.batches import Batch, ViewPlan
from pretrain.encoder import Encoder
from pretrain.methods.base import Defaults, Method, Setting, Step, full_precision
from pretrain.methods.common import MultiCropOptions, multi_crop
from pretrain.settings import PretrainConfig


class LeJepaOptions(MultiCropOptions):
    """``weight`` is lambda; ``slices`` random directions a step; at least one local crop."""

    weight: float = Field(default=0.05, ge=0, le=1)
    slices: int = Field(default=256, ge=1)
    hidden: int = Field(default=2048, ge=1)
    projection: int = Field(default=64, ge=2)
    local_crops: int = Field(default=6, ge=1)


class LeJepa(Method):
    """Balestriero and LeCun, LeJEPA, 2025, section 5: SIGReg by Epps-Pulley tests of random slices, beside the distance to the global views' mean."""

    name = "lejepa"
    paper = "Balestriero & LeCun 2025, arXiv:2511.08544"
    options = LeJepaOptions
    defaults = Defaults(learning_rate=5e-4, weight_decay=0.05)
    minimum = 8  # a distribution cannot be tested with fewer

    def __init__(self, encoder: Encoder, setting: Setting) -> None:
        super().__init__(encoder, setting)
        options = setting.options
        self.head = LeJEPAProjectionHead(encoder.dim, options.hidden, options.projection)
        self.criterion = LeJEPALoss(options.weight, gather_distributed=True, sigreg_num_vectors=options.slices)

    @classmethod
    def plan(cls, config: PretrainConfig, options: Any) -> ViewPlan:
        return multi_crop(config, options)

    def forward(self, batch: Batch) -> Step:
        count = batch.views.shape[1]
        views = self.head(self.pooled(batch.views.flatten(0, 1))).unflatten(0, (-1, count))
        local = self.head(self.pooled(batch.local.flatten(0, 1))).unflatten(0, (-1, count))
        with full_precision(views):
            loss = self.criterion(local_proj=local.float(), global_proj=views.float())
        return Step(loss, {})
