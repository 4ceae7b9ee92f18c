"""A method over a tiny ViT and a batch of random views, for tests of losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pretrain.batches import Batch
from pretrain.encoder import build_encoder
from pretrain.methods import load_method
from pretrain.methods.base import Method, Setting
from pretrain.schedules import Clock
from pretrain.settings import PretrainConfig, checked, make_pretrain_config

CLOSE = {"rel": 1e-5, "abs": 1e-5}
"""What losses may differ by from their equations, computed in float64."""
COUNT, SIDE, PATCH, STEPS = 8, 32, 8, 100


def tiny_config(name: str, **fields: Any) -> PretrainConfig:
    """A one-block ViT of 4 × 4 patches."""
    shape = {"architecture": "vit_tiny_patch16_224", "image_size": SIDE, "patch_size": PATCH, "depth": 1, "batch": COUNT, "accelerator": "cpu"}
    return make_pretrain_config(**{"method": name, "data": (Path("nowhere"),), "out": Path("out.safetensors"), **shape, **fields})


def build(name: str, step: int = 50, fields: dict[str, Any] | None = None, **options: Any) -> Method:
    """Method ``name`` at ``step`` of 100, in training mode, its weights the same each time."""
    config = tiny_config(name, **(fields or {}))
    kind = load_method(name)
    labels = np.arange(40) % 4
    torch.manual_seed(0)
    method = kind(build_encoder(config), Setting(config, checked(kind.options, options, "option"), 40, labels, 4, STEPS))
    method.clock = Clock(step, STEPS)
    torch.manual_seed(1)
    return method.train()


def random_batch(views: int = 2, local: int = 0, seed: int = 0) -> Batch:
    """``COUNT`` images of noise, each view another."""
    torch.manual_seed(seed)
    low = torch.rand(COUNT, views, 1).argsort(1).squeeze(-1).T.float()[..., None].expand(-1, -1, 4) * 0.05
    return Batch(
        views=torch.randint(0, 256, (views, COUNT, 3, SIDE, SIDE), dtype=torch.uint8),
        local=torch.randint(0, 256, (local, COUNT, 3, SIDE // 2, SIDE // 2), dtype=torch.uint8),
        boxes=low + torch.tensor([0.0, 0.1, 0.6, 0.7]),
        flips=torch.rand(views, COUNT) < 0.5,
        labels=torch.arange(COUNT) % 4,
        indices=torch.arange(COUNT),
    )


def unit(rows: torch.Tensor) -> np.ndarray:
    """Rows of length one, float64."""
    values = rows.detach().double().numpy()
    return np.asarray(values / np.linalg.norm(values, axis=-1, keepdims=True))


def softmax(values: np.ndarray) -> np.ndarray:
    """Along the last axis."""
    shifted = np.exp(values - values.max(-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(-1, keepdims=True))


def projected(method: Any, images: torch.Tensor) -> torch.Tensor:
    """What a method's head makes of views (V, B, 3, S, S)."""
    return method.head(method.pooled(images.flatten(0, 1)))  # type: ignore[no-any-return]
