"""SwAV: predict from one view which prototypes another view was assigned to, all prototypes used equally."""

from __future__ import annotations

from typing import Any

import torch
from lightly.models.modules import SwaVProjectionHead
from lightly.models.utils import normalize_weight
from pydantic import Field
from torch import distributed, nn
from torch.nn import functional

from pretrain.across import several_processes, whole_batch
from pretrain.batches import Batch, ViewPlan
from pretrain.encoder import Encoder
from pretrain.methods.assignments import centred, crossed
from pretrain.methods.base import Defaults, Method, Setting, Shares, Step, auto_prototypes, full_precision
from pretrain.methods.common import MultiCropOptions, multi_crop
from pretrain.methods.sharpening import Sharpening, evenness
from pretrain.settings import PretrainConfig


class SwavOptions(MultiCropOptions):
    """``prototypes``: 3000 in the paper; 0 chooses by the number of images.

    ``queue`` embeddings of earlier steps join the assignment after the share ``queue_from`` of the run, for batches smaller than the
    prototypes (section 4.2). Prototypes stay fixed for the first ``frozen`` share of the steps. ``epsilon`` is lowered while the entropy of the
    assignments over log K is above ``most_entropy``; see `pretrain.methods.sharpening`.
    """

    prototypes: int = Field(default=0, ge=0)
    temperature: float = Field(default=0.1, gt=0)
    epsilon: float = Field(default=0.05, gt=0)
    most_entropy: float = Field(default=0.75, gt=0, le=1)
    iterations: int = Field(default=3, ge=1)
    queue: int = Field(default=0, ge=0)
    queue_from: float = Field(default=0.15, ge=0, le=1)
    frozen: float = Field(default=0.01, ge=0, le=1)
    hidden: int = Field(default=2048, ge=1)
    projection: int = Field(default=128, ge=2)
    global_scale: Shares = (0.14, 1.0)
    local_scale: Shares = (0.05, 0.14)


class Swav(Method):
    """Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster Assignments, NeurIPS 2020, equations 1 to 6.

    The prototypes are ours: lightly's have biases, which the paper's matrix of unit prototypes has not.
    """

    name = "swav"
    paper = "Caron et al. 2020, arXiv:2006.09882"
    options = SwavOptions
    defaults = Defaults(learning_rate=5e-4, weight_decay=0.05)
    minimum = 4
    queue: torch.Tensor
    filled: torch.Tensor

    def __init__(self, encoder: Encoder, setting: Setting) -> None:
        super().__init__(encoder, setting)
        options = setting.options
        self.settings = options
        count = auto_prototypes(options.prototypes, setting.images // 4, 3000)
        self.head = SwaVProjectionHead(encoder.dim, options.hidden, options.projection)
        self.prototypes = nn.Linear(options.projection, count, bias=False)
        self.sharpening = Sharpening(options.epsilon, options.most_entropy)
        self.register_buffer("queue", torch.zeros(2, options.queue, options.projection))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @classmethod
    def plan(cls, config: PretrainConfig, options: Any) -> ViewPlan:
        return multi_crop(config, options)

    def forward(self, batch: Batch) -> Step:
        groups = [batch.views, *([batch.local] if len(batch.local) else [])]
        projected = [self.head(self.pooled(group.flatten(0, 1))) for group in groups]
        with full_precision(projected[0]), torch.no_grad():
            normalize_weight(self.prototypes.weight)
        with full_precision(projected[0]):
            unit = [functional.normalize(one.float(), dim=1) for one in projected]
            scores = [self.prototypes(one) for one in unit]
            high = list(scores[0].chunk(2))
            low = list(scores[1].chunk(len(batch.local))) if len(scores) > 1 else []
            targets = self._assigned(high)
            loss = crossed(targets, [*high, *low], self.settings.temperature)
        self._enqueue(unit[0].detach())
        logs = evenness(torch.cat(targets))
        self.sharpening.follow(logs["teacher_entropy"])
        return Step(loss, logs)

    def _assigned(self, high: list[torch.Tensor]) -> list[torch.Tensor]:
        """The prototypes (B, K) that each view of ``high`` scores (B, K) is assigned to, among those of the queue."""
        epsilon, queue = self.sharpening.temperature(self.settings.epsilon), self._queue_scores()
        joined = high if queue is None else [torch.cat(pair) for pair in zip(high, queue, strict=True)]
        return [centred(scores.detach(), epsilon, self.settings.iterations)[: len(view)] for scores, view in zip(joined, high, strict=True)]

    def before_step(self) -> None:
        if self.clock.progress < self.settings.frozen:
            self.prototypes.weight.grad = None

    def _queue_scores(self) -> list[torch.Tensor] | None:
        size = self.queue.shape[1]
        if not size or int(self.filled) < size or self.clock.progress < self.settings.queue_from:
            return None
        rank, world = (distributed.get_rank(), distributed.get_world_size()) if several_processes() else (0, 1)
        share = size // world  # Sinkhorn gathers what the processes have, so each brings its own part of the queue
        with torch.no_grad():
            return [self.prototypes(one[rank * share : (rank + 1) * share]) for one in self.queue]

    @torch.no_grad()
    def _enqueue(self, unit: torch.Tensor) -> None:
        """Put the newest embeddings (2B, D) of all processes first and drop the oldest: every process holds the same queue."""
        size = self.queue.shape[1]
        if size:
            newest = torch.stack([whole_batch(view) for view in unit.chunk(2)])
            self.queue.copy_(torch.cat([newest, self.queue], dim=1)[:, :size])
            self.filled.add_(newest.shape[1]).clamp_(max=size)
