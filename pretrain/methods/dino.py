"""DINO: an averaged teacher sees whole images, the student learns to say the same of small crops."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import torch
from lightly.loss import DINOLoss
from lightly.models.modules import DINOProjectionHead
from pydantic import Field
from torch import nn

from models.errors import StegoError
from pretrain.batches import Batch, ViewPlan
from pretrain.encoder import Encoder
from pretrain.methods.assignments import centred, crossed
from pretrain.methods.base import Defaults, Method, Setting, Step, auto_prototypes, full_precision
from pretrain.methods.common import MomentumOptions, MultiCropOptions, multi_crop
from pretrain.methods.sharpening import Sharpening, center_momentum, evenness, start_center
from pretrain.methods.teacher import Teacher
from pretrain.schedules import linear_warmup, teacher_momentum
from pretrain.settings import PretrainConfig


class PrototypeOptions(MomentumOptions, MultiCropOptions):
    """``prototypes`` (65,536 in the paper; 0 chooses by the number of images), temperatures, and how long the last layer stays fixed.

    The teacher's temperature rises from ``teacher_start`` to ``teacher_temperature`` over the share ``temperature_warmup`` of the run, but
    stays lower while the entropy of its answers over log K is above ``most_entropy``; see `pretrain.methods.sharpening`. ``batch_norm`` puts one
    after each hidden layer of the head, as the paper's code can for convolutional networks (its ViTs do without).
    """

    prototypes: int = Field(default=0, ge=0)
    hidden: int = Field(default=2048, ge=1)
    bottleneck: int = Field(default=256, ge=2)
    batch_norm: bool = False
    student_temperature: float = Field(default=0.1, gt=0)
    teacher_start: float = Field(default=0.04, gt=0)
    teacher_temperature: float = Field(default=0.07, gt=0)
    temperature_warmup: float = Field(default=0.3, gt=0, le=1)
    most_entropy: float = Field(default=0.75, gt=0, le=1)
    sinkhorn_iterations: int = Field(default=3, ge=1)
    frozen: float = Field(default=0.01, ge=0, le=1)


class DinoOptions(PrototypeOptions):
    """``centering`` is the paper's moving mean, or Sinkhorn-Knopp over the batch, as DINOv2 has it.

    That one shares the prototypes out evenly, however little sets the images' answers apart. For a ``center_momentum`` of None (0.9 in the paper) see
    `pretrain.methods.sharpening`.
    """

    centering: Literal["mean", "sinkhorn"] = "mean"
    center_momentum: float | None = Field(default=None, ge=0, lt=1)


def prototype_head(dim: int, options: Any, prototypes: int) -> nn.Module:
    """DINO's head: dim to ``prototypes`` cosines, by a bottleneck on the unit sphere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # lightly's head uses torch's older weight norm
        head: nn.Module = DINOProjectionHead(dim, options.hidden, options.bottleneck, prototypes, batch_norm=options.batch_norm)
    return head


class Dino(Method):
    """Caron et al., Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021, equations 1 to 4."""

    name = "dino"
    paper = "Caron et al. 2021, arXiv:2104.14294"
    pooling = "cls"
    options = DinoOptions
    defaults = Defaults(learning_rate=5e-4, weight_decay=0.04, last_weight_decay=0.4, betas=(0.9, 0.999))
    has_teacher = True

    def __init__(self, encoder: Encoder, setting: Setting) -> None:
        super().__init__(encoder, setting)
        self.settings = options = setting.options
        check_views(options)
        self.count = auto_prototypes(options.prototypes, setting.images, 65536)
        self.head = prototype_head(encoder.dim, options, self.count)
        self.teacher = Teacher(encoder)
        self.teacher_head = Teacher(self.head, prototype_head(encoder.dim, options, self.count))
        self.sharpening = Sharpening(options.teacher_temperature, options.most_entropy)
        self.center_momentum = center_momentum(options.center_momentum, teacher_momentum(options.momentum, setting.steps, 0))
        self.criterion = DINOLoss(self.count, student_temp=options.student_temperature, center_momentum=self.center_momentum)

    @classmethod
    def plan(cls, config: PretrainConfig, options: Any) -> ViewPlan:
        return multi_crop(config, options)

    @property
    def kept(self) -> Encoder:
        kept: Any = self.teacher.module
        encoder: Encoder = kept
        return encoder

    def forward(self, batch: Batch) -> Step:
        images = batch.views.flatten(0, 1)
        wanted = self.teacher_head(self.kept.pool(self.teacher(images), self.pooling))
        found = [self.head(self.pooled(images)).chunk(2)]
        if len(batch.local):
            found.append(self.head(self.pooled(batch.local.flatten(0, 1))).chunk(len(batch.local)))
        with full_precision(wanted):
            loss, logs = self.image_loss(wanted.float(), [one.float() for group in found for one in group])
        self.sharpening.follow(logs["teacher_entropy"])
        return Step(loss, logs)

    def image_loss(self, wanted: torch.Tensor, found: list[torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        """Cross-entropy of the teacher's logits ``wanted`` (2 · B, K) and the student's of other views, (B, K) each, the teacher's own views first."""
        options = self.settings
        if options.centering == "mean":
            logs = self.look_at(wanted)
            return self.criterion(list(wanted.chunk(2)), found, teacher_temp=logs["teacher_temperature"]), logs
        temperature = self.sharpening.temperature(published_temperature(options, self.clock.progress))
        answers = centred(wanted, temperature, options.sinkhorn_iterations)
        return crossed(list(answers.chunk(2)), found, options.student_temperature), {**evenness(answers), "teacher_temperature": temperature}

    @torch.no_grad()
    def look_at(self, wanted: torch.Tensor) -> dict[str, float]:
        """The temperature for the teacher's logits ``wanted`` (N, K), and how even its answers then are."""
        start_center(self.criterion.center, wanted)
        temperature = self.sharpening.temperature(published_temperature(self.settings, self.clock.progress))
        answers = torch.softmax((wanted - self.criterion.center[0]) / temperature, dim=-1)
        return {**evenness(answers), "teacher_temperature": temperature}

    def before_step(self) -> None:
        if self.clock.progress < self.settings.frozen:
            freeze_last_layer(self.head)

    def after_step(self) -> None:
        momentum = teacher_momentum(self.settings.momentum, self.clock.steps, self.clock.progress)
        self.teacher.follow(self.encoder, momentum)
        self.teacher_head.follow(self.head, momentum)


def check_views(options: Any) -> None:
    """Temperatures must be ordered for the teacher to be the sharper one.

    Raises:
        StegoError: they are not.
    """
    if options.teacher_temperature >= options.student_temperature or options.teacher_start >= options.student_temperature:
        raise StegoError("options 'teacher_start' and 'teacher_temperature': expected less than 'student_temperature', or the teacher sharpens nothing")


def published_temperature(options: Any, progress: float) -> float:
    """The teacher's temperature by the paper's schedule, where ``progress`` in [0, 1] of the run is done."""
    return linear_warmup(options.teacher_start, options.teacher_temperature, progress, options.temperature_warmup)


def freeze_last_layer(head: Any) -> None:
    """Drop the gradients of the prototypes (Caron et al., 2021, appendix: fixed during the first epoch)."""
    for parameter in head.last_layer.parameters():
        parameter.grad = None
