"""Settings of one pretraining run, whatever the method."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from models.errors import StegoError
from pretrain.precision import training_precision
from stego_app import LARGEST_SEED, settings

UNHASHED = frozenset(
    {"out", "checkpoint_every", "health_every", "log_every", "memory_gb", "workers", "accelerator", "devices", "num_nodes", "strategy", "file_precision"}
)
"""Settings that do not change what is learnt: a run may be continued with other values of these."""


class PretrainConfig(BaseModel):
    """What is pretrained on what, and how.

    Attributes:
        method: a name of `pretrain.methods.METHODS`.
        data: folders of images, ``.tar`` files of images, or ``@FILE`` lists of images; labels are never used but for watching (see `pretrain.source`).
        out: the backbone file to write; checkpoint, logs and report lie beside it.
        architecture: a timm ViT name, for a random start.
        init: a backbone's name or path to continue from instead, as `models.backbone_sources.load_backbone` takes it.
        tune: what is trained of the backbone ``init`` names: "all", "last:N" blocks, or "lora[:RANK]" adapters; see `pretrain.tuning`.
        image_size: side of the (global) crops in pixels; a multiple of the patch size.
        patch_size, depth: of a random start; the architecture's own if None.
        pair: a folder of a second modality with the same file names (VICReg only).
        steps: optimiser steps in all; or `epochs` passes over the images.
        batch: images of one optimiser step, over all devices and accumulated micro-batches.
        accumulate: micro-batches a step; contrastive negatives and batch statistics then stay within a micro-batch.
        learning_rate: peak for a batch of 256; scaled linearly to the batch (Goyal et al., 2017). The method's own if None.
        weight_decay: the method's own if None.
        warmup: share of the steps with linear warm-up.
        layer_decay: each block's rate is this times the next one's (Clark et al., 2020; Bao et al., 2022); 1 is none.
        drop_path: stochastic depth of the last block, growing linearly from 0 (Huang et al., 2016).
        ema: momentum of an average of the weights that is kept instead of them, for methods without a teacher; 0 is none.
        checkpointing: recompute activations of blocks in the backward pass, to save memory.
        clip: largest norm of the gradient; 0 is none.
        options: the method's own options by name.
        health_every, log_every, checkpoint_every: steps between two checks, log lines, checkpoints; health_every None is a twentieth of the run, or
            the steps that 512 images take if that is more.
        workers: processes that prepare views; None is none on a CPU and up to 8 beside a GPU.
        accelerator, devices, num_nodes, strategy, precision: passed to Lightning's Trainer; precision "auto" is resolved here, since a resumed run must
            go on in the same one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    data: tuple[Path, ...] = Field(min_length=1)
    out: Path
    architecture: str = "vit_small_patch16_224"
    init: str | None = None
    tune: str = "all"
    image_size: int = Field(default=224, ge=8)
    patch_size: int | None = Field(default=None, ge=1)
    depth: int | None = Field(default=None, ge=1)
    pair: Path | None = None
    steps: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0)
    batch: int = Field(default=256, ge=1)
    accumulate: int = Field(default=1, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
    weight_decay: float | None = Field(default=None, ge=0)
    warmup: float = Field(default=0.1, ge=0, le=1)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    ema: float = Field(default=0.0, ge=0, lt=1)
    checkpointing: bool = False
    clip: float = Field(default=3.0, ge=0)
    options: dict[str, Any] = Field(default_factory=dict)
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    health_every: int | None = Field(default=None, ge=1)
    log_every: int = Field(default=10, ge=1)
    checkpoint_every: int = Field(default=200, ge=1)
    memory_gb: float = Field(default=4.0, ge=0)
    workers: int | None = Field(default=None, ge=0)
    accelerator: str = "auto"
    devices: str = "1"
    num_nodes: int = Field(default=1, ge=1)
    strategy: str = "auto"
    precision: str = Field(default="auto", validate_default=True)
    file_precision: str = Field(default="fp16", pattern="^(fp32|fp16|int8)$")

    @field_validator("precision")
    @classmethod
    def _resolve_precision(cls, precision: str, info: ValidationInfo) -> str:
        return training_precision(precision, info.data.get("accelerator", "auto"))

    @property
    def hashed(self) -> dict[str, Any]:
        """All settings that decide the result, as JSON."""
        fields: dict[str, Any] = self.model_dump(mode="json", exclude=set(UNHASHED))
        return fields


def make_pretrain_config(**fields: Any) -> PretrainConfig:
    """A checked configuration.

    Raises:
        StegoError: names the first setting that is wrong and what was expected.
    """
    config: PretrainConfig = checked(PretrainConfig, fields, "pretraining setting")
    return config


def checked(model: type[Any], fields: Mapping[str, Any], what: str) -> Any:
    """``model`` filled with ``fields``; ``what`` names a field of it in errors.

    Raises:
        StegoError: an unknown name (the nearest known one is suggested), or the first value that is wrong.
    """
    for name in fields:
        if name not in model.model_fields:
            raise StegoError(f"unknown {what} '{name}'{nearest(name, model.model_fields)}")
    return settings.checked(model, fields, what)


def nearest(name: str, known: Iterable[str]) -> str:
    """A suggestion to end an error message with: the nearest known name and all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"{hint} (known: {', '.join(names) or 'none'})"


def parse_options(texts: Iterable[str]) -> dict[str, Any]:
    """``NAME=VALUE`` texts as a dictionary; values that are JSON (numbers, true, lists) are read as such, others are text.

    Raises:
        StegoError: a text without ``=``.
    """
    options: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise StegoError(f"--set {text}: expected NAME=VALUE")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return options
