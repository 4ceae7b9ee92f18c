"""An optimiser's tensors by the names of the parameters they belong to, for checkpoints of tensors and JSON alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

_PREFIX = "optimiser/"


def optimiser_tensors(module: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The state of ``optimiser``, whose parameters are ``module``'s, as ``optimiser/<slot>/<parameter>``."""
    return {
        f"{_PREFIX}{slot}/{name}": torch.as_tensor(value)
        for name, parameter in module.named_parameters()
        for slot, value in optimiser.state.get(parameter, {}).items()
    }


def restore_optimiser(tensors: Mapping[str, torch.Tensor], module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Copy what `optimiser_tensors` gave out of a checkpoint's ``tensors`` into ``optimiser``, whose parameters are ``module``'s."""
    parameters = dict(module.named_parameters())
    for key, value in tensors.items():
        if not key.startswith(_PREFIX):
            continue
        slot, _, name = key.removeprefix(_PREFIX).partition("/")
        parameter = parameters[name]
        optimiser.state[parameter][slot] = value.clone().to(parameter.device if value.ndim else "cpu")
