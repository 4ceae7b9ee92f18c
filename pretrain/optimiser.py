"""AdamW with layer-wise learning rates, and no decay where none is meant."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from pretrain.tuning import ADAPTER_RATE

_BLOCK = re.compile(r"(?:^|\.)vit\.blocks\.(\d+)\.")
_STEM = re.compile(r"(?:^|\.)vit\.(patch_embed|pos_embed|cls_token|reg_token)")


def layer_scale(name: str, depth: int, decay: float) -> float:
    """The factor of a parameter's learning rate: ``decay`` to the power of the blocks above it.

    Block i of ``depth`` has ``decay ** (depth - i)``, patch and position embeddings ``decay ** (depth + 1)``; all that lies above the
    backbone (heads, predictors) 1. (Bao et al., BEiT, 2022, appendix.) Low-rank adapters have `pretrain.tuning.ADAPTER_RATE` times as much.
    """
    block = _BLOCK.search(name)
    if block:
        adapter = ADAPTER_RATE if ".lora_" in name else 1.0
        return adapter * float(decay ** (depth - int(block.group(1))))
    return float(decay ** (depth + 1)) if _STEM.search(name) else 1.0


def parameter_groups(module: nn.Module, depth: int, decay: float, weight_decay: float) -> list[dict[str, Any]]:
    """Groups of trained parameters by rate and by decay: matrices decay, vectors and tokens do not. ``scale`` is the factor of a group's rate."""
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        matrix = parameter.ndim >= 2 and not name.endswith(("pos_embed", "token", "bias"))
        scale = layer_scale(name, depth, decay)
        group = groups.setdefault((scale, matrix), {"params": [], "scale": scale, "decays": matrix, "weight_decay": weight_decay if matrix else 0.0})
        group["params"].append(parameter)
    return list(groups.values())


def build_optimiser(module: nn.Module, depth: int, *, decay: float, rate: float, weight_decay: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
    """AdamW over the trained parameters of ``module``."""
    return torch.optim.AdamW(parameter_groups(module, depth, decay, weight_decay), lr=rate, betas=betas)


def set_rates(optimiser: torch.optim.Optimizer, rate: float, weight_decay: float) -> None:
    """Set the step's learning rate and weight decay in every group."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["scale"]
        group["weight_decay"] = weight_decay if group["decays"] else 0.0
