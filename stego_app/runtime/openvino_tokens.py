"""A graph in OpenVINO, on the CPU."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from models.errors import StegoError
from stego_app.runtime.extras import require


class OpenVinoGraph:
    """A graph with one input ``images``. Threads may share it.

    Args:
        path: an ONNX file, or an OpenVINO ``.xml`` with its ``.bin`` beside it.
        lowered: multiply in bfloat16; else in float32, also where OpenVINO would choose otherwise by itself.
        threads: for one run; torch's number if None.

    Raises:
        StegoError: OpenVINO is not installed, or cannot read the file.
    """

    def __init__(self, path: Path, *, lowered: bool = False, threads: int | None = None) -> None:
        openvino = require("openvino", extra="openvino")
        settings = {"INFERENCE_PRECISION_HINT": "bf16" if lowered else "f32", "INFERENCE_NUM_THREADS": threads or torch.get_num_threads()}
        try:
            core = openvino.Core()
            model = core.compile_model(core.read_model(str(path)), "CPU", settings)
        except RuntimeError as error:
            reason = next(iter(str(error).splitlines()), "")
            raise StegoError(f"{path}: not a graph that OpenVINO can read ({reason}); delete it and run the same command again") from error
        self.outputs = [output.get_any_name() for output in model.outputs]
        self._request = model.create_infer_request()
        # A request holds the memory of one run; a run takes all cores, so several at once would gain nothing.
        self._lock = threading.Lock()

    def run(self, images: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """All outputs, by name, for ``images`` (B, 3, H, W)."""
        with self._lock:
            found = self._request.infer({"images": images})
            return {name: np.array(found[name]) for name in self.outputs}
