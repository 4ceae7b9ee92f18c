"""Barlow Twins: the cross-correlation of two views' channels comes close to the identity."""

from __future__ import annotations

from typing import Any

from lightly.loss import BarlowTwinsLoss
from lightly.models.modules import BarlowTwinsProjectionHead
from pydantic import Field

from pretrain.across import whole_batch
from pretrain.batches import Batch, ViewPlan
from pretrain.encoder import Encoder
from pretrain.methods.base import Defaults, Method, Setting, Step, full_precision
from pretrain.methods.common import TwoViewOptions, two_views
from pretrain.settings import PretrainConfig


class BarlowTwinsOptions(TwoViewOptions):
    """``redundancy`` is the paper's lambda; ``projection`` the width of all three layers of the head (8192 in the paper)."""

    redundancy: float = Field(default=5e-3, gt=0)
    projection: int = Field(default=2048, ge=2)


class BarlowTwins(Method):
    """Zbontar et al., Barlow Twins, ICML 2021, equation 1."""

    name = "barlow-twins"
    paper = "Zbontar et al. 2021, arXiv:2103.03230"
    options = BarlowTwinsOptions
    defaults = Defaults(learning_rate=5e-4, weight_decay=0.05)
    minimum = 8  # correlations of fewer images are noise

    def __init__(self, encoder: Encoder, setting: Setting) -> None:
        super().__init__(encoder, setting)
        options = setting.options
        self.head = BarlowTwinsProjectionHead(encoder.dim, options.projection, options.projection)
        # Not gathered there: lightly would take each process's own means and deviations.
        self.criterion = BarlowTwinsLoss(lambda_param=options.redundancy)

    @classmethod
    def plan(cls, config: PretrainConfig, options: Any) -> ViewPlan:
        return two_views(config, options)

    def forward(self, batch: Batch) -> Step:
        projected = self.head(self.pooled(batch.views.flatten(0, 1)))
        with full_precision(projected):
            loss = self.criterion(*(whole_batch(view) for view in projected.float().chunk(2)))
        return Step(loss, {})
