"""The state of a training run on disk: everything that makes a resumed run give the bits of an uninterrupted one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from models.artifact import ArtifactError, read_artifact, write_artifact

_KIND = "training state"


@dataclass(frozen=True)
class TrainingState:
    """What changes in training; `load_state` fills it in place. ``losses`` are one list a term, a value a step."""

    head: nn.Module
    clusters: nn.Parameter
    optimiser: torch.optim.Optimizer
    generator: torch.Generator
    losses: dict[str, list[float]]


def save_state(path: Path, state: TrainingState) -> None:
    """Write ``state`` to ``path`` atomically.

    Raises:
        ArtifactError: the file cannot be written.
    """
    tensors = _networks(state)
    for number, moments in state.optimiser.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{name}": value for name, value in moments.items()}
    tensors["generator"] = state.generator.get_state()
    tensors |= {f"losses.{term}": torch.tensor(values, dtype=torch.float64) for term, values in state.losses.items()}
    write_artifact(path, _KIND, tensors, {"steps": len(next(iter(state.losses.values())))})


def load_state(path: Path, state: TrainingState) -> None:
    """Fill ``state`` from the file at ``path``.

    Raises:
        ArtifactError: damaged file, or the state of another network.
    """
    try:
        tensors, _ = read_artifact(path, _KIND)
    except ArtifactError as error:
        raise ArtifactError(f"{error}; delete it to start again") from error
    try:
        with torch.no_grad():
            for name, mine in _networks(state).items():
                mine.copy_(tensors[name])
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("adam."):
                _, number, key = name.split(".")
                moments.setdefault(int(number), {})[key] = value
        state.optimiser.load_state_dict({**state.optimiser.state_dict(), "state": moments})
        state.generator.set_state(tensors["generator"])
        for term, values in state.losses.items():
            values[:] = tensors[f"losses.{term}"].tolist()
    except (KeyError, RuntimeError, ValueError) as error:
        raise ArtifactError(f"{path}: not the state of this training run ({error}); delete it to start again") from error


def _networks(state: TrainingState) -> dict[str, torch.Tensor]:
    tensors = {f"head.{name}": value for name, value in state.head.state_dict().items()}
    tensors["clusters"] = state.clusters.detach()
    return tensors
