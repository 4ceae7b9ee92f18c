"""I-JEPA: from one block of an image, predict what an averaged encoder says of other blocks."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightly.models.modules import IJEPAPredictorTIMM
from lightly.models.utils import apply_masks
from pydantic import Field
from torch.nn import functional

from models.errors import StegoError
from pretrain.augment import plain_crop
from pretrain.batches import Batch, ViewPlan
from pretrain.encoder import Encoder
from pretrain.methods.base import Aspects, Defaults, Method, Setting, Shares, Step, full_precision
from pretrain.methods.common import MomentumOptions
from pretrain.methods.teacher import Teacher
from pretrain.schedules import teacher_momentum
from pretrain.settings import PretrainConfig

_TRIES = 200


class IJepaOptions(MomentumOptions):
    """``targets`` blocks of ``target_scale`` of the image at an aspect of ``target_aspect``, a context of ``context_scale``.

    The predictor is ``predictor_width`` wide (384 for a ViT-B in the paper; 0 is half the encoder's) and ``predictor_depth`` deep (6).
    """

    targets: int = Field(default=4, ge=1)
    target_scale: Shares = (0.15, 0.2)
    target_aspect: Aspects = (0.75, 1.5)
    context_scale: Shares = (0.85, 1.0)
    predictor_width: int = Field(default=0, ge=0, multiple_of=32)
    predictor_depth: int = Field(default=4, ge=1)


class IJepa(Method):
    """Assran et al., I-JEPA, CVPR 2023, section 3.

    A CLS token, where the ViT has one, is in the context but predicts nothing; the encoder is judged by the mean of its patches.
    """

    name = "ijepa"
    paper = "Assran et al. 2023, arXiv:2301.08243"
    options = IJepaOptions
    minimum = 1
    defaults = Defaults(learning_rate=5e-4, weight_decay=0.04, last_weight_decay=0.4, betas=(0.9, 0.999))
    has_teacher = True

    def __init__(self, encoder: Encoder, setting: Setting) -> None:
        super().__init__(encoder, setting)
        self.settings = options = setting.options
        self.grid = setting.config.image_size // encoder.patch_size
        if self.grid < 4:
            raise StegoError(f"--image-size {setting.config.image_size}: 'ijepa' needs at least 4 × 4 patches of {encoder.patch_size} pixels")
        width = options.predictor_width or max(64, encoder.dim // 2 // 64 * 64)
        self.predictor = IJEPAPredictorTIMM(self.grid**2, options.predictor_depth, encoder.dim, width, max(1, width // 32))
        self.target = Teacher(encoder)

    @classmethod
    def plan(cls, config: PretrainConfig, options: Any) -> ViewPlan:
        del options
        return ViewPlan((plain_crop(config.image_size, (0.3, 1.0)),))

    @property
    def kept(self) -> Encoder:
        kept: Any = self.target.module
        encoder: Encoder = kept
        return encoder

    def forward(self, batch: Batch) -> Step:
        images = batch.views[0]
        context, targets = block_masks(len(images), self.grid, self.settings)
        context, targets = context.to(images.device), [one.to(images.device) for one in targets]
        seen = self.encoder(images, keep=context)[:, self.encoder.prefix :]
        predicted = self.predictor(seen, context, targets)
        whole = self.target(images)[:, self.encoder.prefix :].float()
        with full_precision(predicted):
            wanted = apply_masks(functional.layer_norm(whole, whole.shape[-1:]), targets)
            loss = (predicted.float() - wanted).square().mean()
        return Step(loss, {})

    def after_step(self) -> None:
        self.target.follow(self.encoder, teacher_momentum(self.settings.momentum, self.clock.steps, self.clock.progress))


def block_masks(count: int, grid: int, options: IJepaOptions) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Multi-block masks (section 3, "Targets" and "Context"): context (count, K) and ``options.targets`` times (count, M) patch indices.

    The blocks' size is drawn once for the batch, their places for each image. A context loses the patches of its image's targets; all
    contexts are cut to the shortest, so each is drawn until it has `least_context` patches.

    Raises:
        StegoError: the targets leave no such context.
    """
    shape = _block_shape(grid, options.target_scale, options.target_aspect)
    pairs = [_image_masks(grid, shape, options) for _ in range(count)]
    shortest = min(len(context) for context, _ in pairs)
    cut = [context[torch.randperm(len(context))[:shortest].sort().values] for context, _ in pairs]
    return torch.stack(cut), list(torch.stack([blocks for _, blocks in pairs], dim=1))


def least_context(grid: int) -> int:
    """Patches a context has at least: a sixteenth of them all, and four on a small grid, where random blocks can cover nearly everything."""
    return max(4, grid * grid // 16)


def _image_masks(grid: int, shape: tuple[int, int], options: IJepaOptions) -> tuple[torch.Tensor, torch.Tensor]:
    """The context (K,) and the targets (T, M) of one image."""
    for _ in range(_TRIES):
        blocks = torch.stack([_block(grid, *shape) for _ in range(options.targets)])
        block = _block(grid, *_block_shape(grid, options.context_scale, (1.0, 1.0)))
        left = block[~torch.isin(block, blocks.flatten())]
        if len(left) >= least_context(grid):
            return left, blocks
    asked = f"{options.targets} targets of {shape[0]} × {shape[1]} of {grid} × {grid} patches"
    remedy = "choose fewer, smaller ones, or a larger --image-size"
    raise StegoError(f"options 'targets' and 'target_scale': {asked} leave no context to predict them from; {remedy}")


def _block_shape(grid: int, scale: tuple[float, float], aspect: tuple[float, float]) -> tuple[int, int]:
    area = grid * grid * (scale[0] + float(torch.rand(())) * (scale[1] - scale[0]))
    ratio = aspect[0] + float(torch.rand(())) * (aspect[1] - aspect[0])
    return max(1, min(grid, round(math.sqrt(area * ratio)))), max(1, min(grid, round(math.sqrt(area / ratio))))


def _block(grid: int, rows: int, columns: int) -> torch.Tensor:
    """Indices of a block of rows × columns patches at a random place of a grid × grid image."""
    top, left = int(torch.randint(grid - rows + 1, ())), int(torch.randint(grid - columns + 1, ()))
    return torch.arange(grid * grid).view(grid, grid)[top : top + rows, left : left + columns].flatten()
