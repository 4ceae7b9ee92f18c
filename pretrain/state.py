"""The state of an unfinished pretraining run as one safetensors artefact: tensors and JSON only, written atomically."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.artifact import read_artifact, write_artifact
from models.errors import StegoError
from pretrain.optimiser_state import optimiser_tensors
from pretrain.settings import PretrainConfig

KIND = "pretraining checkpoint"
_MODULE = "module/"


def part_path(out: Path) -> Path:
    """Where the checkpoint of the run that will write ``out`` lies."""
    return out.with_name(out.name + ".part")


def save_state(path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, header: Mapping[str, Any]) -> None:
    """Write all parameters and buffers, the optimiser's tensors, and a JSON ``header``.

    Raises:
        ArtifactError: the file cannot be written.
    """
    tensors = {_MODULE + name: tensor for name, tensor in module.state_dict().items()}
    write_artifact(path, KIND, tensors | optimiser_tensors(module, optimiser), header)


def load_state(path: Path, config: PretrainConfig, data: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and header of the checkpoint at ``path``, checked to belong to this run; ``data`` is the images' fingerprint.

    Raises:
        ArtifactError: damaged, or not such a checkpoint.
        StegoError: it is of another method, of other images, or of other settings; the message names which.
    """
    tensors, header = read_artifact(path, KIND)
    settings = dict(header.get("settings", {}))
    remedy = "delete it, or choose another --out"
    if settings.get("method") != config.method:
        raise StegoError(f"{path}: a checkpoint of method '{settings.get('method')}', not '{config.method}'; {remedy}")
    if header.get("data") != data:
        what, then = header.get("items", "images"), f"{header.get('images')} then"
        raise StegoError(f"{path}: the {what} have changed since this checkpoint was written ({then}); put them back, or {remedy}")
    changed = [name for name, value in config.hashed.items() if settings.get(name) != value]
    if changed:
        before = ", ".join(f"{name} was {settings.get(name)}" for name in changed)
        raise StegoError(f"{path}: a checkpoint of a run with other settings ({before}); {remedy}")
    return tensors, header


def restore_module(tensors: Mapping[str, torch.Tensor], module: nn.Module) -> None:
    """Fill ``module`` from a checkpoint's tensors."""
    module.load_state_dict({name.removeprefix(_MODULE): tensor for name, tensor in tensors.items() if name.startswith(_MODULE)}, strict=True)
