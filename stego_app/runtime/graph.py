"""Writes a network as an ONNX graph that takes any batch, height and width."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.backbone import Backbone
from models.errors import StegoError
from stego_app.runtime.extras import require
from stego_app.runtime.position_resampling import portable_positions

OPSET = 20
"""The first with Gelu as one operation; ONNX Runtime from 1.17 on reads it."""

_LARGEST = 1_900_000_000
"""Bytes of weights: a protocol buffer holds 2 GiB."""
_MOST_PATCHES = 4096  # on a side, far beyond what memory allows; the exporter asks for bounds


class BackboneGraph(nn.Module):
    """Images (B, 3, H, W) in [0, 1] to ``tokens`` (B, C, h, w): normalisation, the ViT up to the block taken, its final norm."""

    outputs = ("tokens",)

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See the class."""
        return (self.backbone(images).patches,)


def write_graph(network: nn.Module, outputs: tuple[str, ...], patch: int, path: Path, facts: Mapping[str, str]) -> None:
    """Export ``network`` to ``path``; not atomic, and not compared with torch: see `stego_app.runtime.check`.

    Args:
        network: on the CPU; takes images (B, 3, H, W) whose sides are multiples of ``patch``, gives a tuple, one each of ``outputs``.
        outputs: names.
        patch: side of a patch.
        path: the file.
        facts: kept in the file as ONNX metadata.

    Raises:
        StegoError: a package is missing, the weights are too large for one file, or the network holds what ONNX cannot say.
    """
    onnx = require("onnx", extra="onnx")
    require("onnxscript", extra="onnx")
    if (size := sum(tensor.nbytes for tensor in network.state_dict().values())) > _LARGEST:
        raise StegoError(f"{size / 1e9:.1f} GB of weights do not fit in one ONNX file, which holds 2 GB; take a smaller backbone")
    dims = torch.export.Dim
    shape = {0: dims("batch", min=1, max=65535), 2: patch * dims("rows", min=1, max=_MOST_PATCHES), 3: patch * dims("columns", min=1, max=_MOST_PATCHES)}
    # Two images of unequal sides, none of them the grid of the weights: the tracer takes what is equal by chance for equal by law.
    example = torch.rand(2, 3, 9 * patch, 13 * patch)
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with portable_positions(), warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore")
            names: dict[str, Any] = {"input_names": ["images"], "output_names": list(outputs)}
            program: Any = torch.onnx.export(network.eval(), (example,), dynamo=True, dynamic_shapes=(shape,), opset_version=OPSET, verbose=False, **names)
    except Exception as error:  # the exporter raises many kinds, each with pages of text
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise StegoError(f"this network cannot be written as an ONNX graph ({reason[:200]}); it runs with --runtime torch") from error
    finally:
        quiet.setLevel(level)
    model = program.model_proto
    for name, value in facts.items():
        model.metadata_props.add(key=name, value=value)
    onnx.save_model(model, str(path))
