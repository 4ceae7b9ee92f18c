"""SimSiam: predict one view's projection from the other's, without gradients through the target."""

from __future__ import annotations

from typing import Any

from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules import SimSiamPredictionHead, SimSiamProjectionHead
from pydantic import Field

from pretrain.batches import Batch, ViewPlan
from pretrain.encoder import Encoder
from pretrain.methods.base import Defaults, Method, Setting, Step, full_precision
from pretrain.methods.common import TwoViewOptions, two_views
from pretrain.settings import PretrainConfig


class SimSiamOptions(TwoViewOptions):
    """Widths of the projection (2048 in the paper) and of the predictor's bottleneck (512)."""

    projection: int = Field(default=2048, ge=2)
    bottleneck: int = Field(default=512, ge=1)


class SimSiam(Method):
    """Chen and He, Exploring Simple Siamese Representation Learning, CVPR 2021, equation 4."""

    name = "simsiam"
    paper = "Chen & He 2021, arXiv:2011.10566"
    options = SimSiamOptions
    defaults = Defaults(learning_rate=5e-4, weight_decay=0.05)

    def __init__(self, encoder: Encoder, setting: Setting) -> None:
        super().__init__(encoder, setting)
        options = setting.options
        self.projector = SimSiamProjectionHead(encoder.dim, options.projection, options.projection)
        self.predictor = SimSiamPredictionHead(options.projection, options.bottleneck, options.projection)
        self.criterion = NegativeCosineSimilarity()

    @classmethod
    def plan(cls, config: PretrainConfig, options: Any) -> ViewPlan:
        return two_views(config, options)

    def forward(self, batch: Batch) -> Step:
        projected = self.projector(self.pooled(batch.views.flatten(0, 1)))
        predicted = self.predictor(projected)
        with full_precision(predicted):
            (first, second), (target_first, target_second) = predicted.float().chunk(2), projected.detach().float().chunk(2)
            loss = (self.criterion(first, target_second) + self.criterion(second, target_first)) / 2
        return Step(loss, {})
