"""Settings of one distillation run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from stego_app import LARGEST_SEED
from stego_app.settings import checked

# Height and width in patches. Several sizes and aspects, so that resampled position embeddings serve any input;
# the largest is what a 4:3 photo of short side 336 gives at patch 14.
VIEW_GRIDS = ((14, 14), (16, 16), (16, 20), (20, 16), (20, 20), (18, 24), (24, 32))

TargetView = Literal["plain", "mirror", "enlarged"]


class DistillConfig(BaseModel):
    """What is distilled from what, and how.

    Attributes:
        data: folders of images, read recursively; labels are never used.
        teacher: a backbone's name or path, as `models.backbone_sources.load_backbone` takes it.
        teacher_block: block of the teacher whose normed output is the target; the teacher's own choice if None.
        targets: ways of seeing a view over which the teacher's tokens are averaged; see `pretrain.module.teacher_features`.
        depth: blocks of the student.
        start: which of the teacher's blocks the student starts from: its "first" ones; the first ones but the
            "last" from the teacher's target block; or "even" steps from the first to the target block.
        student: a timm ViT name to start from random weights instead; None builds it of the teacher's own blocks.
        out: the backbone file to write.
        precision: how its weights are stored.
        steps: optimiser steps in all.
        tokens: patch tokens a step; views are of several sizes and a batch holds as many as fit.
        learning_rate: peak of the cosine schedule.
        cls_weight: weight of the CLS token's loss beside that of the patches.
        checkpoint_every: steps between checkpoints from which an interrupted run goes on.
        holdout_every: one image in so many is kept for measuring, not trained on.
        memory_gb: decoded images kept in memory.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: tuple[Path, ...] = Field(min_length=1)
    teacher: str
    out: Path
    teacher_block: int | None = Field(default=None, ge=0)
    targets: tuple[TargetView, ...] = Field(default=("plain", "mirror"), min_length=1)
    depth: int = Field(default=8, ge=1)
    start: Literal["first", "last", "even"] = "first"
    student: str | None = None
    precision: Literal["fp32", "fp16", "int8"] = "int8"
    steps: int = Field(default=800, ge=1)
    tokens: int = Field(default=2048, ge=1)
    grids: tuple[tuple[int, int], ...] = Field(default=VIEW_GRIDS, min_length=1)
    learning_rate: float = Field(default=1.5e-4, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    warmup: int = Field(default=50, ge=0)
    cls_weight: float = Field(default=0.2, ge=0)
    cache_side: int = Field(default=256, ge=32)
    checkpoint_every: int = Field(default=100, ge=1)
    holdout_every: int = Field(default=50, ge=2)
    memory_gb: float = Field(default=4.0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)

    @property
    def fingerprint(self) -> str:
        """16 hex digits of all that decides the result: a checkpoint of another run is not continued."""
        values = self.model_dump(exclude={"out", "precision", "checkpoint_every", "memory_gb", "device"})
        return hashlib.sha256(json.dumps(values, default=str).encode()).hexdigest()[:16]  # names of folders need not be valid text


def make_config(**fields: Any) -> DistillConfig:
    """A checked configuration.

    Raises:
        StegoError: names the first field that is wrong and what was expected.
    """
    return checked(DistillConfig, fields, "distillation setting")
