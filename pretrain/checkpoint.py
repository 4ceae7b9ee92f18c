"""The state of an unfinished distillation, as one safetensors artefact: tensors and JSON only, written atomically."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.artifact import read_artifact, write_artifact
from models.errors import StegoError
from pretrain.optimiser_state import optimiser_tensors

KIND = "distillation checkpoint"
_MODULE, _EXTRA = "module/", "extra/"


def save_checkpoint(path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, *, extra: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> None:
    """Write trainable parameters, the optimiser's tensors and ``extra`` tensors to ``path``; ``header`` is JSON.

    Raises:
        ArtifactError: the file cannot be written, for example because the disk is full.
    """
    tensors: dict[str, torch.Tensor] = {_EXTRA + name: tensor for name, tensor in extra.items()}
    for name, parameter in _trained(module):
        tensors[_MODULE + name] = parameter
    write_artifact(path, KIND, tensors | optimiser_tensors(module, optimiser), header)


def load_checkpoint(path: Path, fingerprint: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and header of the checkpoint at ``path``.

    Raises:
        ArtifactError: damaged, or not a checkpoint.
        StegoError: it belongs to a run with other settings.
    """
    tensors, header = read_artifact(path, KIND)
    if header.get("fingerprint") != fingerprint:
        raise StegoError(f"{path}: a checkpoint of a run with other settings or images; delete it, or choose another output file")
    return tensors, header


def restore_module(tensors: Mapping[str, torch.Tensor], module: nn.Module) -> None:
    """Copy the parameters of a checkpoint into ``module``."""
    with torch.no_grad():
        for name, parameter in _trained(module):
            parameter.copy_(tensors[_MODULE + name])


def extra_tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The ``extra`` tensors given to `save_checkpoint`."""
    return {name.removeprefix(_EXTRA): tensor for name, tensor in tensors.items() if name.startswith(_EXTRA)}


def _trained(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
