"""SimCLRv2: SimCLR with a deeper head; then, where labels of a few images may be used, fine-tuning from the head's middle and self-distillation."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from models.errors import StegoError
from pretrain.batches import Batch
from pretrain.encoder import Encoder, Pooling
from pretrain.methods.base import Setting, Step, full_precision
from pretrain.methods.simclr import SimClr, SimClrOptions
from pretrain.schedules import Clock


class SimClrV2Options(SimClrOptions):
    """``label_fraction`` of the images whose folder names may be used: 0, the default, is pretraining alone.

    Otherwise the first ``pretraining`` share of the steps is SimCLR, then ``fine_tuning``, and the rest distils the fine-tuned network
    on all images at ``distillation_temperature``.
    """

    label_fraction: float = Field(default=0.0, ge=0, le=1)
    pretraining: float = Field(default=0.6, gt=0, lt=1)
    fine_tuning: float = Field(default=0.2, gt=0, lt=1)
    distillation_temperature: float = Field(default=1.0, gt=0)


class Classifier(nn.Module):
    """An encoder, the first layer of the contrastive head, and a linear classifier on it."""

    def __init__(self, encoder: Encoder, middle: nn.Module, width: int, classes: int, pooling: Pooling) -> None:
        super().__init__()
        self.encoder = encoder
        self.middle = middle
        self.classify = nn.Linear(width, classes)
        self.pooling = pooling

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, K) of ``images`` (B, 3, S, S) uint8."""
        logits: torch.Tensor = self.classify(self.middle(self.encoder.pool(self.encoder(images), self.pooling)))
        return logits


class SimClrV2(SimClr):
    """Chen et al., Big Self-Supervised Models are Strong Semi-Supervised Learners, NeurIPS 2020: equations 1 and 2, section 2.2 for the head."""

    name = "simclrv2"
    paper = "Chen et al. 2020, arXiv:2006.10029"
    options = SimClrV2Options
    head_layers: ClassVar[int] = 3

    def __init__(self, encoder: Encoder, setting: Setting) -> None:
        super().__init__(encoder, setting)
        self.settings = options = setting.options
        self.tuned: Classifier | None = None
        self.student: Classifier | None = None
        if not options.label_fraction:
            return
        if options.pretraining + options.fine_tuning >= 1:
            raise StegoError("options 'pretraining' and 'fine_tuning' of 'simclrv2': expected a sum below 1, the rest is for distillation")
        self.in_stages = True
        self.labelled = labelled_subset(setting.labels, options.label_fraction, setting.config.seed)
        if setting.classes < 2 or len(set(setting.labels[self.labelled])) < setting.classes:
            raise StegoError(f"option 'label_fraction' of 'simclrv2': expected two or more folders, all among the {len(self.labelled)} labelled images")
        self.student = Classifier(encoder, self._middle(), options.hidden, setting.classes, self.pooling)
        self.tuned = Classifier(copy.deepcopy(encoder), copy.deepcopy(self._middle()), options.hidden, setting.classes, self.pooling)

    def _middle(self) -> nn.Module:
        layers: Any = self.head.layers
        middle: nn.Module = layers[:3]  # linear, batch norm, ReLU: the head's first layer
        return middle

    def stage(self, clock: Clock) -> int:
        """0 while pretraining, 1 while fine-tuning, 2 while distilling."""
        options = self.settings
        if not options.label_fraction or clock.progress < options.pretraining:
            return 0
        return 1 if clock.progress < options.pretraining + options.fine_tuning else 2

    def subset(self, clock: Clock) -> npt.NDArray[np.int64] | None:
        return self.labelled if self.stage(clock) == 1 else None

    def forward(self, batch: Batch) -> Step:
        stage = self.stage(self.clock)
        if stage == 0 or self.tuned is None or self.student is None:
            return super().forward(batch)
        images = batch.views.flatten(0, 1)
        if stage == 1:
            logits = self.tuned(images)
            with full_precision(logits):
                loss = functional.cross_entropy(logits.float(), batch.labels.repeat(len(batch.views)))
            return Step(loss, {})
        with torch.no_grad():
            wanted = self.tuned(images)
        found = self.student(images)
        with full_precision(found):
            loss = distillation_loss(found.float(), wanted.float(), self.settings.distillation_temperature)
        return Step(loss, {})

    def after_step(self) -> None:
        following = Clock(self.clock.step + 1, self.clock.steps)
        if self.tuned is not None and self.stage(self.clock) == 0 and self.stage(following) == 1:
            self.tuned.encoder.load_state_dict(self.encoder.state_dict())
            self.tuned.middle.load_state_dict(self._middle().state_dict())


def labelled_subset(labels: npt.NDArray[np.int64], fraction: float, seed: int) -> npt.NDArray[np.int64]:
    """Indices of a random ``fraction`` of every class, one image at least."""
    rng = np.random.default_rng((seed, 5))
    chosen = []
    for kind in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == kind))
        chosen.append(members[: max(1, round(fraction * len(members)))])
    return np.sort(np.concatenate(chosen))


def distillation_loss(found: torch.Tensor, wanted: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cross-entropy of the student's logits to the teacher's answers, both (B, K), at one temperature (equation 2)."""
    answers = torch.softmax(wanted / temperature, dim=-1)
    return -(answers * torch.log_softmax(found / temperature, dim=-1)).sum(-1).mean()
