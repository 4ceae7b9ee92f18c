"""Distillation as a Lightning module: a frozen teacher, a trained student, one step's loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lightning
import torch
from torch import nn
from torch.nn import functional

from models.backbone import Backbone, BackboneOutput
from models.errors import StegoError
from pretrain.config import DistillConfig, TargetView
from pretrain.loss import FeatureStatistics, feature_loss, tokens_of
from pretrain.schedules import cosine

COLLAPSE_SPREAD, COLLAPSE_STEPS = 0.05, 50
ENLARGED = 1.5


def learning_rate(step: int, config: DistillConfig) -> float:
    """Linear warm-up, then a cosine to zero at the last step."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return cosine(config.learning_rate, 0.0, progress)


def teacher_features(teacher: Backbone, views: torch.Tensor, student_patch: int, targets: Sequence[TargetView] = ("plain",)) -> BackboneOutput:
    """The teacher's tokens of ``views`` (B, 3, H, W) on the student's grid, whatever the teacher's own patch size is.

    They are the mean over the ``targets``: the view as it is, its mirror image turned back, and the view enlarged by
    `ENLARGED`, its finer tokens averaged back to the grid. What a ViT says of a place for the place's sake, and not for what is
    there, differs between these and averages out (cf. Yang et al., Denoising Vision Transformers, ECCV 2024, section 3), so a
    student of their mean starts cleaner than its teacher, at one forward pass.
    """
    with torch.no_grad():
        outputs = [_TARGETS[target](teacher, views, student_patch) for target in targets]
    if len(outputs) == 1:
        return outputs[0]
    patches = torch.stack([output.patches.float() for output in outputs]).mean(0)
    return outputs[0]._replace(patches=patches, cls=torch.stack([output.cls.float() for output in outputs]).mean(0))


def _plain(teacher: Backbone, views: torch.Tensor, student_patch: int) -> BackboneOutput:
    if teacher.patch_size != student_patch:
        views = _resized(views, [side // student_patch * teacher.patch_size for side in views.shape[-2:]])
    output: BackboneOutput = teacher(views)
    return output


def _mirrored(teacher: Backbone, views: torch.Tensor, student_patch: int) -> BackboneOutput:
    output = _plain(teacher, views.flip(-1), student_patch)
    return output._replace(patches=output.patches.flip(-1))


def _enlarged(teacher: Backbone, views: torch.Tensor, student_patch: int) -> BackboneOutput:
    grid = [side // student_patch for side in views.shape[-2:]]
    output: BackboneOutput = teacher(_resized(views, [round(side * ENLARGED) * teacher.patch_size for side in grid]))
    return output._replace(patches=functional.interpolate(output.patches.float(), size=grid, mode="bilinear", antialias=True))


_TARGETS = {"plain": _plain, "mirror": _mirrored, "enlarged": _enlarged}


def _resized(views: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    return functional.interpolate(views, size=list(size), mode="bicubic", antialias=True).clamp(0, 1)


class Distillation(lightning.LightningModule):  # type: ignore[misc] # lightning has no types here
    """Trains ``student`` to give the tokens of ``teacher``.

    Raises (in training):
        StegoError: the loss is no longer finite, or the student's features have collapsed.
    """

    def __init__(self, student: Backbone, teacher: Backbone, patches: FeatureStatistics, cls: FeatureStatistics, config: DistillConfig) -> None:
        super().__init__()
        self.student = student.train()
        self.teacher = teacher.requires_grad_(False)
        # Only where widths differ, and only while training: the student's own features are what is kept.
        self.projection = nn.Identity() if student.dim == teacher.dim else nn.Linear(student.dim, teacher.dim)
        for name, tensor in (("patch_mean", patches.mean), ("patch_std", patches.std), ("cls_mean", cls.mean), ("cls_std", cls.std)):
            self.register_buffer(name, tensor.float())
        self.config = config
        self.first_step = 0
        self.latest: dict[str, float] = {}
        self._flat_for = 0

    def statistics(self) -> tuple[FeatureStatistics, FeatureStatistics]:
        """The teacher's statistics of patches and of CLS, on the module's device."""
        return FeatureStatistics(self.patch_mean, self.patch_std), FeatureStatistics(self.cls_mean, self.cls_std)

    def compare(self, views: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Loss, patch cosine and the spread of the student's patches of ``views`` (B, 3, H, W)."""
        wanted = teacher_features(self.teacher, views, self.student.patch_size, self.config.targets)
        found = self.student(views)
        patches, cls = self.statistics()
        tokens = self.projection(tokens_of(found.patches))
        loss, cosine = feature_loss(tokens, tokens_of(wanted.patches), patches)
        cls_loss, _ = feature_loss(self.projection(found.cls), wanted.cls, cls)
        spread = patches.standardise(tokens.detach().float()).std(dim=0).mean()
        return loss + self.config.cls_weight * cls_loss, cosine, spread

    def training_step(self, views: torch.Tensor, _index: int) -> torch.Tensor:
        """One step's loss; `latest` keeps loss, cosine and spread for the progress line."""
        loss, cosine, spread = self.compare(views)
        self.latest = {"loss": float(loss.detach()), "cosine": float(cosine), "spread": float(spread)}
        self._check(self.first_step + self.global_step)
        return loss

    def _check(self, step: int) -> None:
        if not math.isfinite(self.latest["loss"]):
            raise StegoError(f"distillation stopped at step {step}: the loss is no longer a finite number; try a smaller learning_rate")
        flat = step > self.config.warmup and self.latest["spread"] < COLLAPSE_SPREAD
        self._flat_for = self._flat_for + 1 if flat else 0
        if self._flat_for >= COLLAPSE_STEPS:
            raise StegoError(
                f"distillation stopped at step {step}: the student gives nearly the same features for every patch (collapse); try a smaller learning_rate"
            )

    def on_train_batch_start(self, _batch: Any, _index: int) -> None:
        """Set the step's learning rate: a function of the step alone, so there is no scheduler to resume."""
        rate = learning_rate(self.first_step + self.global_step, self.config)
        for group in self.optimizers().param_groups:
            group["lr"] = rate

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; no decay for norms, biases, tokens and position embeddings."""
        trained = [(name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad]
        matrices = [parameter for name, parameter in trained if parameter.ndim >= 2 and name.endswith("weight")]
        others = [parameter for name, parameter in trained if not (parameter.ndim >= 2 and name.endswith("weight"))]
        groups = [{"params": matrices, "weight_decay": self.config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=self.config.learning_rate, betas=(0.9, 0.99))
