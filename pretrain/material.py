"""What a run learns from. The loop, its checkpoints and its reports know data of any kind by this alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pretrain.bank import Bank
from pretrain.batches import Share
from pretrain.settings import PretrainConfig
from stego_app.progress import Progress

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from pretrain.methods.base import Pretext

MakeBatches = Callable[[int, Share], "Dataset[Any]"]
"""``make_batches(start, share)``: micro-batches from optimiser step ``start`` on, for one process. Each has ``size``, the number of its items."""

Watched = tuple[Sequence[Any], torch.Tensor | None]
"""Inputs whose vectors are watched, in chunks that `Material.represent` takes, and the class (N,) of each vector where classes are known."""


class Material(ABC):
    """The data of one run, and the encoder that fits them.

    Attributes:
        config: the run's settings; what depends on the encoder is filled in by `build_encoder`.
        names: of the files, in order.
        labels: (N,) int64, a number for each item's kind, where folders are kinds.
        kinds: their names.
        banks: what the items are read from; of several modalities one each.
    """

    config: PretrainConfig
    names: Sequence[str]
    labels: npt.NDArray[np.int64]
    kinds: Sequence[str]
    banks: Sequence[Bank[Any]]

    def __len__(self) -> int:
        return len(self.names)

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A short text that other data would not have."""

    @property
    def skipped(self) -> Mapping[Path, str]:
        """Files that could not be read so far, and why."""
        return {path: reason for bank in self.banks for path, reason in bank.skipped.items()}

    def look_again(self, indices: Iterable[int]) -> None:
        """Read items that a process beside this one could not, so that they and the reasons are in `skipped` here too."""
        for index in indices:
            for bank in self.banks:
                bank.get(index)

    @abstractmethod
    def build_encoder(self) -> nn.Module:
        """The encoder the run starts from, random or as ``--init`` says.

        Raises:
            StegoError: it cannot be built, or does not fit the data.
        """

    @abstractmethod
    def prepare(self, kind: type[Pretext], steps: int, progress: Progress) -> None:
        """Check the data for a run of ``steps`` before hours are spent; called once, after `build_encoder`.

        Raises:
            StegoError: names what cannot be learnt from.
        """

    @abstractmethod
    def batches(self, method: Pretext, steps: int) -> MakeBatches:
        """The micro-batches of a run of ``steps``."""

    @abstractmethod
    def watched(self) -> Watched:
        """What `pretrain.health` looks at.

        Raises:
            StegoError: too little can be read.
        """

    @abstractmethod
    def represent(self, encoder: Any, inputs: Any, method: Pretext) -> torch.Tensor:
        """Vectors (n, C) of a chunk of `watched` on the encoder's device."""

    @abstractmethod
    def describe(self, encoder: Any) -> str:
        """The encoder in a few words."""

    @abstractmethod
    def save(self, path: Path, encoder: Any, source: str, card: Mapping[str, Any]) -> None:
        """Write the backbone file of ``encoder``."""
