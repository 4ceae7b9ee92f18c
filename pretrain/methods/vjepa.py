"""V-JEPA and V-JEPA 2: from a few tubes of a clip, predict what an averaged encoder says of the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch.nn import functional

from models.errors import StegoError
from pretrain.augment import plain_crop
from pretrain.batches import Batch, ViewPlan
from pretrain.material import Material
from pretrain.methods.base import Aspects, Defaults, Options, Pretext, Setting, Step, full_precision
from pretrain.methods.teacher import Teacher
from pretrain.schedules import Clock
from pretrain.settings import PretrainConfig
from pretrain.video.encoder import Positions, VideoEncoder
from pretrain.video.masks import LONG_RANGE, SHORT_RANGE, MaskKind, tube_masks
from pretrain.video.material import ClipMaterial
from pretrain.video.predictor import HEAD_WIDTH, Predictor
from pretrain.video.schedules import warmup_constant_cooldown


class VJepaOptions(Options):
    """Clips, masks and predictor.

    ``frames`` at ``fps`` a second in tubelets of ``tubelet``; ``short_blocks`` blocks of ``short_scale`` of the frame and ``long_blocks`` of
    ``long_scale``, at an aspect from ``aspect``; a predictor ``predictor_width`` wide (384 in the paper; 0 is half the encoder's) and
    ``predictor_depth`` deep; ``smallest_crop`` is the least share of the frame a view shows. ``positions`` are the method's own, or with --init
    the backbone's, if None. ``momentum`` of the target encoder is the paper's if None, in short runs too: a target that follows faster
    comes to say the same of all tubelets before the predictor can tell them apart.
    """

    default_positions: ClassVar[Positions] = "sincos"

    frames: int = Field(default=16, ge=2)
    fps: float = Field(default=7.5, gt=0)
    tubelet: int = Field(default=2, ge=1)
    positions: Literal["sincos", "rotary", "inherited"] | None = None
    short_blocks: int = Field(default=SHORT_RANGE.blocks, ge=1)
    short_scale: float = Field(default=SHORT_RANGE.scale, gt=0, lt=1)
    long_blocks: int = Field(default=LONG_RANGE.blocks, ge=1)
    long_scale: float = Field(default=LONG_RANGE.scale, gt=0, lt=1)
    aspect: Aspects = SHORT_RANGE.aspect
    predictor_width: int = Field(default=0, ge=0, multiple_of=HEAD_WIDTH)
    predictor_depth: int = Field(default=12, ge=1)
    momentum: float | None = Field(default=None, ge=0, lt=1)
    smallest_crop: float = Field(default=0.3, gt=0, le=1)

    @property
    def masks(self) -> tuple[MaskKind, ...]:
        """Short-range and long-range masks."""
        return MaskKind(self.short_blocks, self.short_scale, self.aspect), MaskKind(self.long_blocks, self.long_scale, self.aspect)


class VJepa2Options(VJepaOptions):
    """As `VJepaOptions`; the last share ``cooldown`` of the steps takes the learning rate to 0."""

    default_positions: ClassVar[Positions] = "rotary"

    fps: float = Field(default=4.0, gt=0)
    cooldown: float = Field(default=0.05, ge=0, le=1)


class VJepa(Pretext):
    """Bardes et al., Revisiting Feature Prediction for Learning Visual Representations from Video, 2024, section 3."""

    name = "vjepa"
    paper = "Bardes et al. 2024, arXiv:2404.08471"
    items = "clips"
    material: ClassVar[Callable[[PretrainConfig, Any], Material]] = ClipMaterial
    minimum = 1
    options: ClassVar[type[Options]] = VJepaOptions
    defaults = Defaults(learning_rate=6.25e-4, weight_decay=0.04, last_weight_decay=0.4, betas=(0.9, 0.999))
    has_teacher = True
    published_momentum: ClassVar[float] = 0.998

    def __init__(self, encoder: VideoEncoder, setting: Setting) -> None:
        super().__init__(encoder, setting)
        self.settings = options = setting.options
        side = setting.config.image_size // encoder.patch_size
        if side < 4:
            raise StegoError(f"--image-size {setting.config.image_size}: '{self.name}' needs at least 4 × 4 patches of {encoder.patch_size} pixels")
        width = options.predictor_width or max(2 * HEAD_WIDTH, encoder.dim // 2 // HEAD_WIDTH * HEAD_WIDTH)
        turned = encoder.video.positions == "rotary"
        self.predictor = Predictor(encoder.dim, width, options.predictor_depth, len(options.masks), turned=turned)
        self.target = Teacher(encoder)
        self.momentum = self.published_momentum if options.momentum is None else options.momentum

    @classmethod
    def plan_at(cls, config: PretrainConfig, options: Any, clock: Clock) -> tuple[ViewPlan, int]:
        """One view of each clip, and the clips of a step."""
        del clock
        return ViewPlan((plain_crop(config.image_size, (options.smallest_crop, 1.0)),)), config.batch

    @property
    def kept(self) -> VideoEncoder:
        kept: Any = self.target.module
        encoder: VideoEncoder = kept
        return encoder

    def forward(self, batch: Batch) -> Step:
        """Equation 1, the mean of both kinds of masks; ``copy_mean`` logs what the mean of the seen tokens' targets would score."""
        clips = batch.views[0]
        grid = self.encoder.grid(clips)
        whole = self.target(clips).float()
        with full_precision(whole):
            wanted = functional.layer_norm(whole, whole.shape[-1:])
        losses, copied = [], []
        for number, kind in enumerate(self.settings.masks):
            keep, masked = (index.to(clips.device) for index in tube_masks(len(clips), grid, kind))
            seen = self.encoder(clips, keep=keep)
            predicted = self.predictor(seen, keep, masked, number, grid)
            with full_precision(predicted):
                asked, known = _at(wanted, masked), _at(wanted, keep)
                losses.append((predicted.float() - asked).abs().mean())
                copied.append((known.mean(dim=1, keepdim=True) - asked).abs().mean())
        loss = torch.stack(losses).mean()
        logs = {"short_range": float(losses[0].detach()), "long_range": float(losses[1].detach()), "copy_mean": float(torch.stack(copied).mean())}
        return Step(loss, logs)

    def after_step(self) -> None:
        self.target.follow(self.encoder, self.momentum_at(self.clock))

    def momentum_at(self, clock: Clock) -> float:
        """From the published 0.998 to 1 along a line."""
        return self.momentum + (1.0 - self.momentum) * clock.progress


class VJepa2(VJepa):
    """Assran et al., V-JEPA 2, 2025, section 2: rotary positions, a constant momentum, and a learning rate that is held, then cooled down."""

    name = "vjepa2"
    paper = "Assran et al. 2025, arXiv:2506.09985"
    options: ClassVar[type[Options]] = VJepa2Options
    defaults = Defaults(learning_rate=6.25e-4, weight_decay=0.04, betas=(0.9, 0.999))
    published_momentum: ClassVar[float] = 0.99925

    def momentum_at(self, clock: Clock) -> float:
        """The same throughout."""
        del clock
        return self.momentum

    def learning_rate(self, clock: Clock, peak: float, warmup: float) -> float:
        """Warm-up, constant, cool-down."""
        return warmup_constant_cooldown(clock, peak, warmup, self.settings.cooldown)


def _at(tokens: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """``tokens`` (B, N, C) at ``index`` (B, M): (B, M, C)."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))
