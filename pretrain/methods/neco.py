"""Dense post-training by patch-neighbour ordering: student and teacher should agree on which reference patches are nearer to a patch."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch.nn import functional
from torchvision.ops import roi_align

from pretrain.augment import simclr_crop
from pretrain.batches import Batch, ViewPlan
from pretrain.encoder import Encoder
from pretrain.methods.base import Defaults, Method, Setting, Step, full_precision
from pretrain.methods.common import MomentumOptions
from pretrain.methods.teacher import Teacher
from pretrain.schedules import teacher_momentum
from pretrain.settings import PretrainConfig


class NecoOptions(MomentumOptions):
    """``references`` patches of the batch are ordered; the views' common region is resampled to ``grid`` × ``grid`` patches; softness of both sorts."""

    references: int = Field(default=32, ge=2)
    grid: int = Field(default=7, ge=1, le=64)
    student_softness: float = Field(default=0.1, gt=0)
    teacher_softness: float = Field(default=0.05, gt=0)
    smallest_crop: float = Field(default=0.25, gt=0, le=1)


class Neco(Method):
    """Pariza et al., NeCo: Near, far: Patch-ordering enhances vision foundation models' scene understanding, ICLR 2025, section 3.

    Their differentiable sorting network is NeuralSort here (Grover et al., 2019, equation 4): it gives the same permutation in the limit, in
    one matrix instead of a network of comparisons.
    """

    name = "neco"
    paper = "Pariza et al. 2025, arXiv:2408.11054"
    options = NecoOptions
    defaults = Defaults(learning_rate=5e-5, weight_decay=0.04, betas=(0.9, 0.999))
    has_teacher = True
    needs_init = True

    def __init__(self, encoder: Encoder, setting: Setting) -> None:
        super().__init__(encoder, setting)
        self.settings = setting.options
        self.teacher = Teacher(encoder)

    @classmethod
    def plan(cls, config: PretrainConfig, options: Any) -> ViewPlan:
        crop = simclr_crop(config.image_size, (options.smallest_crop, 1.0))
        return ViewPlan((crop, crop))

    @property
    def kept(self) -> Encoder:
        kept: Any = self.teacher.module
        encoder: Encoder = kept
        return encoder

    def forward(self, batch: Batch) -> Step:
        images, count = batch.views.flatten(0, 1), batch.views.shape[1]
        found, wanted = (self._grid(tokens) for tokens in (self.encoder(images), self.teacher(images)))
        with full_precision(found):
            found, wanted = found.float(), wanted.float()
            regions, shared = common_regions(batch.boxes, batch.flips)
            students = [align(found[view * count : (view + 1) * count], regions[view], batch.flips[view], self.settings.grid) for view in (0, 1)]
            teachers = [align(wanted[view * count : (view + 1) * count], regions[view], batch.flips[view], self.settings.grid) for view in (0, 1)]
            chosen = torch.randperm(found.shape[0] * found.shape[2] * found.shape[3], device=found.device)[: self.settings.references]
            references = [one.flatten(2).transpose(1, 2).flatten(0, 1)[chosen] for one in (found, wanted)]
            losses = [self._order(students[view][shared], teachers[1 - view][shared], references) for view in (0, 1)]
            loss = torch.stack(losses).mean()
        return Step(loss, {})

    def _grid(self, tokens: torch.Tensor) -> torch.Tensor:
        """Patch tokens as (B, C, h, h)."""
        patches = tokens[:, self.encoder.prefix :]
        side = round(patches.shape[1] ** 0.5)
        return patches.transpose(1, 2).reshape(len(patches), -1, side, side)

    def _order(self, student: torch.Tensor, teacher: torch.Tensor, references: list[torch.Tensor]) -> torch.Tensor:
        found, wanted = (
            soft_order(similarities(patches, reference), softness)
            for patches, reference, softness in (
                (student, references[0], self.settings.student_softness),
                (teacher, references[1], self.settings.teacher_softness),
            )
        )
        return ordering_loss(found, wanted.detach()) if len(found) else found.sum()

    def after_step(self) -> None:
        self.teacher.follow(self.encoder, teacher_momentum(self.settings.momentum, self.clock.steps, self.clock.progress))


def common_regions(boxes: torch.Tensor, flips: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Where two views show the same part of an image.

    Args:
        boxes: (2, B, 4) left, top, right, bottom of each view as shares of the image.
        flips: (2, B) bool.

    Returns:
        For each view the common region within the view, (B, 4) as shares of its sides, mirrored where the view is; and (B,) bool, whether there is one.
    """
    left_top = torch.maximum(boxes[0, :, :2], boxes[1, :, :2])
    right_bottom = torch.minimum(boxes[0, :, 2:], boxes[1, :, 2:])
    shared = (right_bottom - left_top > 0.02).all(dim=1)
    regions = []
    for view in (0, 1):
        origin, size = boxes[view, :, :2], boxes[view, :, 2:] - boxes[view, :, :2]
        low, high = (left_top - origin) / size, (right_bottom - origin) / size
        x0, x1 = torch.where(flips[view], 1 - high[:, 0], low[:, 0]), torch.where(flips[view], 1 - low[:, 0], high[:, 0])
        regions.append(torch.stack([x0, low[:, 1], x1, high[:, 1]], dim=1))
    return regions, shared


def align(patches: torch.Tensor, regions: torch.Tensor, flips: torch.Tensor, grid: int) -> torch.Tensor:
    """Features (B, C, h, w) of ``regions`` (B, 4), upright, at grid × grid points: (B, grid², C)."""
    height, width = patches.shape[-2:]
    scale = torch.tensor([width, height, width, height], device=patches.device, dtype=patches.dtype)
    cut = roi_align(patches, [box[None] for box in regions.to(patches.dtype) * scale], grid, aligned=True)
    upright = torch.where(flips[:, None, None, None], cut.flip(-1), cut)
    return upright.flatten(2).transpose(1, 2)


def similarities(patches: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
    """Cosines of patches (B, P, C) to references (R, C): (B · P, R)."""
    return functional.normalize(patches.flatten(0, 1), dim=1) @ functional.normalize(references, dim=1).T


def soft_order(scores: torch.Tensor, softness: float) -> torch.Tensor:
    """NeuralSort: (M, n) scores to (M, n, n) row-stochastic matrices; row i says which score is the (i + 1)-th largest.

    ``P[i] = softmax(((n + 1 - 2 (i + 1)) s - A 1) / softness)`` with ``A[j, k] = |s_j - s_k|`` (Grover et al., 2019, equation 4).
    """
    count = scores.shape[1]
    spread = (scores[:, :, None] - scores[:, None, :]).abs().sum(-1)
    scaling = count + 1 - 2 * torch.arange(1, count + 1, device=scores.device, dtype=scores.dtype)
    return torch.softmax((scaling[None, :, None] * scores[:, None, :] - spread[:, None, :]) / softness, dim=-1)


def ordering_loss(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of permutation matrices (M, n, n): ``-mean over rows of Σ_j wanted log found``."""
    return -(wanted * found.clamp_min(1e-9).log()).sum(-1).mean()
