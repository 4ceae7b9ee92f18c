"""The state of an unfinished pretraining run as one safetensors artefact: tensors and JSON only, written atomically."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.artifact import read_artifact, tensors_digest, write_artifact
from models.errors import StegoError
from pretrain.optimiser_state import optimiser_tensors
from pretrain.settings import PretrainConfig

KIND = "pretraining checkpoint"
_MODULE = "module/"


def part_path(out: Path) -> Path:
    """Where the checkpoint of the run that will write ``out`` lies."""
    return out.with_name(out.name + ".part")


def save_state(path: Path, module: nn.Module, frozen: Iterable[nn.Parameter], optimiser: torch.optim.Optimizer, header: Mapping[str, Any]) -> None:
    """Write all parameters and buffers but the ``frozen`` ones, the optimiser's tensors, and a JSON ``header``.

    Raises:
        ArtifactError: the file cannot be written.
    """
    left_out = {id(parameter) for parameter in frozen}
    tensors = {_MODULE + name: tensor for name, tensor in module.state_dict(keep_vars=True).items() if id(tensor) not in left_out}
    write_artifact(path, KIND, tensors | optimiser_tensors(module, optimiser), header)


def frozen_digest(frozen: Iterable[nn.Parameter]) -> str:
    """16 hex digits of what checkpoints leave out, since they can only be continued with the same; "" where there is none."""
    tensors = {f"{number:06}": parameter for number, parameter in enumerate(frozen)}
    return tensors_digest(tensors)[:16] if tensors else ""


def load_state(path: Path, config: PretrainConfig, data: str, frozen: str = "") -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and header of the checkpoint at ``path``, checked to belong to this run; ``data`` is the images' fingerprint, ``frozen`` see `frozen_digest`.

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
    settings.setdefault("tune", "all")  # what runs did before they could do anything else
    changed = [name for name, value in config.hashed.items() if settings.get(name) != value]
    if changed:
        before = ", ".join(f"{name} was {settings.get(name)}" for name in changed)
        raise StegoError(f"{path}: a checkpoint of a run with other settings ({before}); {remedy}")
    if header.get("frozen", "") != frozen:
        raise StegoError(f"{path}: the weights of --init {config.init} have changed since this checkpoint was written; put them back, or {remedy}")
    return tensors, header


def restore_module(tensors: Mapping[str, torch.Tensor], module: nn.Module, frozen: Iterable[nn.Parameter] = ()) -> None:
    """Fill ``module`` from a checkpoint's tensors; the ``frozen`` parameters, which it left out, stay as they are."""
    kept = {id(parameter) for parameter in frozen}
    state = {name: tensor for name, tensor in module.state_dict(keep_vars=True).items() if id(tensor) in kept}
    state |= {name.removeprefix(_MODULE): tensor for name, tensor in tensors.items() if name.startswith(_MODULE)}
    module.load_state_dict(state, strict=True)
