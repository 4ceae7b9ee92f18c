"""Patch tokens from a graph in ONNX Runtime, on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from models.errors import StegoError
from stego_app.runtime.extras import require
from stego_app.runtime.tokens import Graph


class OnnxGraph:
    """A graph with one input ``images``. Threads may share it.

    Args:
        path: an ONNX file.
        threads: for one run; torch's number if None.

    Raises:
        StegoError: ONNX Runtime is not installed, or cannot read the file.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        runtime = require("onnxruntime", extra="onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        # Threads that spin while they wait would take the cores from the CRF's processes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common class of their own
            raise StegoError(f"{path}: not a graph that ONNX Runtime can read ({_first_line(error)}); delete it and run the same command again") from error
        self.outputs = [output.name for output in self._session.get_outputs()]

    def run(self, images: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """All outputs, by name, for ``images`` (B, 3, H, W)."""
        return dict(zip(self.outputs, self._session.run(None, {"images": images}), strict=True))


class GraphTokens:
    """The output ``tokens`` of a graph as `stego_app.runtime.tokens.PatchTokens`."""

    def __init__(self, graph: Graph, *, architecture: str, patch_size: int) -> None:
        self._graph = graph
        self._architecture = architecture
        self._patch_size = patch_size

    @property
    def architecture(self) -> str:
        """timm's name of the network."""
        return self._architecture

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self._patch_size

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """See `PatchTokens`."""
        # A copy: what a runtime gives may be its own memory, which the next run writes over.
        return torch.from_numpy(np.array(self._graph.run(np.ascontiguousarray(images.numpy()))["tokens"], dtype=np.float32))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
