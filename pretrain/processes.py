"""How many processes a run has on this machine, and what each of them may use."""

from __future__ import annotations

from typing import Any

import torch

from models.errors import StegoError
from pretrain.precision import on_gpu
from pretrain.settings import PretrainConfig

BESIDE_A_GPU = 8
"""Processes that prepare views, unless another number is asked for: on a CPU they would only compete with the training itself."""


def view_workers(config: PretrainConfig) -> int:
    """Processes beside each training process that prepare views."""
    if config.workers is not None:
        return config.workers
    return BESIDE_A_GPU if on_gpu(config.accelerator) else 0


def bytes_to_keep(config: PretrainConfig) -> float:
    """What each process that reads items may keep of them, so that those of this machine together keep ``memory_gb``."""
    return config.memory_gb * 1e9 / (max(1, view_workers(config)) * training_processes(config))


def training_processes(config: PretrainConfig) -> int:
    """Training processes on this machine: one a device."""
    if config.devices.isdigit():
        return max(1, int(config.devices))
    if "," in config.devices:  # the numbers of some devices
        return len([one for one in config.devices.split(",") if one.strip()])
    return max(1, torch.cuda.device_count()) if on_gpu(config.accelerator) else 1


def check_shares(config: PretrainConfig, method: Any, processes: int) -> None:
    """Each of ``processes`` must get enough of a step's batch, and the method must be able to be shared out.

    Raises:
        StegoError: names the setting to change.
    """
    share = config.batch // (config.accumulate * processes)
    if share < method.minimum:
        parts = f"{processes} processes" + (f" and {config.accumulate} parts" if config.accumulate > 1 else "")
        raise StegoError(f"--batch {config.batch} for {parts}: '{config.method}' needs at least {method.minimum} {method.items} in each")
    if processes > 1 and method.in_stages and "find_unused" not in config.strategy:
        expected = "expected ddp_find_unused_parameters_true"
        raise StegoError(f"--strategy {config.strategy}: '{config.method}' trains other weights in each of its stages; {expected}")
