"""DINOv2: DINO and iBOT with a head each, Sinkhorn-Knopp centering, KoLeo, packed crops, and a short last stage at high resolution."""

from __future__ import annotations

from typing import Any

import torch
from lightly.loss import KoLeoLoss
from pydantic import Field
from torch import nn

from pretrain.batches import Batch, ViewPlan
from pretrain.encoder import Encoder
from pretrain.methods.assignments import centred, crossed, masked_patches
from pretrain.methods.base import Defaults, Method, Setting, Shares, Step, auto_prototypes, full_precision
from pretrain.methods.common import multi_crop
from pretrain.methods.dino import check_views, freeze_last_layer, prototype_head, published_temperature
from pretrain.methods.ibot import MaskedPatchOptions, block_mask
from pretrain.methods.sharpening import Sharpening, evenness
from pretrain.methods.teacher import Teacher
from pretrain.packing import packed_forward
from pretrain.schedules import Clock, teacher_momentum
from pretrain.settings import PretrainConfig


class DinoV2Options(MaskedPatchOptions):
    """``koleo`` weighs the spread of image tokens. The last ``high_resolution_share`` of the steps has global crops of side ``high_resolution``.

    Batches of that stage are smaller by as much as the crops are larger. Register tokens (Darcet et al., 2024) come with an architecture
    that has them, such as ``vit_small_patch14_reg4_dinov2``.
    """

    koleo: float = Field(default=0.1, ge=0)
    local_crops: int = Field(default=8, ge=0)
    global_scale: Shares = (0.32, 1.0)
    local_scale: Shares = (0.05, 0.32)
    packed: bool = True
    high_resolution: int = Field(default=0, ge=0)
    high_resolution_share: float = Field(default=0.02, gt=0, lt=1)


class DinoV2(Method):
    """Oquab et al., DINOv2: Learning Robust Visual Features without Supervision, TMLR 2024, section 4."""

    name = "dinov2"
    paper = "Oquab et al. 2024, arXiv:2304.07193"
    pooling = "cls"
    options = DinoV2Options
    defaults = Defaults(learning_rate=5e-4, weight_decay=0.04, last_weight_decay=0.2, betas=(0.9, 0.999))
    has_teacher = True
    minimum = 4

    def __init__(self, encoder: Encoder, setting: Setting) -> None:
        super().__init__(encoder, setting)
        self.settings = options = setting.options
        check_views(options)
        encoder.learn_mask_token()
        count = auto_prototypes(options.prototypes, setting.images, 65536)
        self.heads = nn.ModuleDict({kind: prototype_head(encoder.dim, options, count) for kind in ("image", "patch")})
        self.teacher = Teacher(encoder)
        self.teacher_heads = nn.ModuleDict({kind: Teacher(head, prototype_head(encoder.dim, options, count)) for kind, head in self.heads.items()})
        self.sharpening = Sharpening(options.teacher_temperature, options.most_entropy)
        self.koleo = KoLeoLoss()

    @classmethod
    def plan(cls, config: PretrainConfig, options: Any) -> ViewPlan:
        return multi_crop(config, options)

    @classmethod
    def plan_at(cls, config: PretrainConfig, options: Any, clock: Clock) -> tuple[ViewPlan, int]:
        if not options.high_resolution or clock.progress < 1 - options.high_resolution_share:
            return cls.plan(config, options), config.batch
        smaller = (config.image_size / options.high_resolution) ** 2
        parts = config.accumulate
        return multi_crop(config, options, options.high_resolution), max(cls.minimum, round(config.batch * smaller / parts)) * parts

    @property
    def kept(self) -> Encoder:
        kept: Any = self.teacher.module
        encoder: Encoder = kept
        return encoder

    def forward(self, batch: Batch) -> Step:
        images, prefix, options = batch.views.flatten(0, 1), self.encoder.prefix, self.settings
        mask = block_mask(len(images), images.shape[-1] // self.encoder.patch_size, options).to(images.device).flatten(1)
        whole, small = self._student(batch, mask)
        seen = self.teacher(images)
        image_head: Any = self.heads["image"]
        cls = whole[:, 0]
        found = [*image_head(cls).chunk(2), *(image_head(small[:, 0]).chunk(len(batch.local)) if small is not None else [])]
        patches = self.heads["patch"](whole[:, prefix:][mask])
        temperature = self.sharpening.temperature(published_temperature(options, self.clock.progress))
        with full_precision(cls):
            targets = centred(self.teacher_heads["image"](seen[:, 0]).float(), temperature, options.sinkhorn_iterations)
            patch_targets = centred(self.teacher_heads["patch"](seen[:, prefix:][mask]).float(), temperature, options.sinkhorn_iterations)
            image_loss = crossed(list(targets.chunk(2)), [one.float() for one in found], options.student_temperature)
            patch_loss = masked_patches(patch_targets, patches.float(), mask, options.student_temperature)
            spread = sum((self.koleo(one.float()) for one in cls.chunk(2)), torch.zeros((), device=cls.device)) if options.koleo else torch.zeros(())
            loss = image_loss + options.patch_weight * patch_loss + options.koleo * spread.to(image_loss.device)
        logs = {**evenness(targets), "teacher_temperature": temperature}
        self.sharpening.follow(logs["teacher_entropy"])
        parts = {"image_loss": image_loss, "patch_loss": patch_loss, "koleo": spread}
        return Step(loss, {**logs, **{name: float(value.detach()) for name, value in parts.items()}})

    def _student(self, batch: Batch, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Tokens of the masked global views and of the local ones."""
        images = batch.views.flatten(0, 1)
        if not len(batch.local):
            return self.encoder(images, mask=mask), None
        local = batch.local.flatten(0, 1)
        if self.settings.packed:
            whole, small = packed_forward(self.encoder, [images, local], [mask, None])
            return whole, small
        return self.encoder(images, mask=mask), self.encoder(local)

    def before_step(self) -> None:
        if self.clock.progress < self.settings.frozen:
            for head in self.heads.values():
                freeze_last_layer(head)

    def after_step(self) -> None:
        momentum = teacher_momentum(self.settings.momentum, self.clock.steps, self.clock.progress)
        self.teacher.follow(self.encoder, momentum)
        for kind, head in self.heads.items():
            teacher: Any = self.teacher_heads[kind]
            teacher.follow(head, momentum)
