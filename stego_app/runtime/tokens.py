"""The seam: something that gives patch tokens for a batch of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch


class PatchTokens(Protocol):
    """A frozen backbone in some runtime. Threads may share it.

    Attributes:
        architecture: what the network is called in errors.
        patch_size: side of a patch in pixels.
    """

    @property
    def architecture(self) -> str: ...
    @property
    def patch_size(self) -> int: ...

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Patch tokens (B, C, h, w) float32, on any device, of ``images`` (B, 3, H, W) float32 in [0, 1] on the CPU; sides are multiples of the patch."""
        ...


class Graph(Protocol):
    """What runs a graph: see `stego_app.runtime.onnx_tokens.OnnxGraph`. Threads may share it."""

    def run(self, images: npt.NDArray[np.float32]) -> Mapping[str, npt.NDArray[np.float32]]: ...
