"""From the name of a runtime to what gives patch tokens in it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch

from models.backbone import Backbone
from models.errors import StegoError
from stego_app.features.extract import device_of, precision_of
from stego_app.runtime.exported import exported_tokens, is_exported
from stego_app.runtime.extras import installed, require
from stego_app.runtime.onnx_tokens import GraphTokens, OnnxGraph
from stego_app.runtime.openvino_tokens import OpenVinoGraph
from stego_app.runtime.store import backbone_graph, int8_graph
from stego_app.runtime.tokens import PatchTokens
from stego_app.runtime.torch_tokens import TorchTokens

log = logging.getLogger("stego.runtime")

AUTO = "auto"
IN_TORCH = ("torch", "torch-bf16")
AS_GRAPH = ("onnx", "openvino", "int8")
_PRECISIONS = {"torch": "fp32", "torch-bf16": "bf16", "onnx": "fp32", "int8": "int8", AUTO: "its own"}
NAMES = (*IN_TORCH, *AS_GRAPH, AUTO)

_EXPORTER = ("onnx", "onnxscript")
_NEEDS = {"onnx": (*_EXPORTER, "onnxruntime"), "openvino": (*_EXPORTER, "openvino"), "int8": (*_EXPORTER, "onnxruntime")}


def check_request(runtime: str | None, precision: str) -> None:
    """Nothing where ``runtime`` is one of `NAMES`, a file that `stego export` wrote, or None for torch in ``precision``, and both go together.

    Raises:
        StegoError: another name, or a precision that contradicts the runtime.
    """
    if runtime is not None and runtime not in NAMES and not is_exported(runtime):
        raise StegoError(f"runtime '{runtime}': expected {', '.join(NAMES)}, or a file that `stego export` wrote (.onnx, .xml)")
    fixed = _own_precision(runtime)
    if precision != "auto" and fixed is not None and precision != fixed:
        raise StegoError(f"precision '{precision}': runtime '{runtime}' has a precision of its own; give one of the two")


def runtime_device(runtime: str | None, device: str) -> torch.device:
    """The device for ``runtime``: graphs run on the CPU, also on a machine with another device unless that is asked for.

    Raises:
        StegoError: an unknown device; a graph asked for on another device than the CPU.
    """
    if runtime not in AS_GRAPH and not is_exported(runtime):
        return device_of(device)
    if device != "auto" and device_of(device).type != "cpu":
        raise StegoError(f"runtime '{runtime}' runs on the CPU, not on '{device}'; expected --device cpu, or --runtime torch")
    return torch.device("cpu")


def runtime_precision(runtime: str | None, precision: str, device: torch.device) -> str:
    """ "fp32" or "bf16", or "int8": what ``runtime`` says, else ``precision`` as `precision_of` has it.

    Raises:
        StegoError: an unknown precision.
    """
    return _own_precision(runtime) or precision_of(precision, device)


def _own_precision(runtime: str | None) -> str | None:
    """The precision of a runtime that has but one."""
    if runtime is not None and runtime.endswith(".onnx"):
        runtime = "onnx"
    return _PRECISIONS.get(runtime or "")


def available() -> list[str]:
    """The runtimes that this installation has on the CPU; bfloat16 where the processor multiplies it, since emulated it is slower than float32."""
    native = ["torch-bf16"] if precision_of("auto", torch.device("cpu")) == "bf16" else []
    return ["torch", *native, *(name for name in AS_GRAPH if installed(*_NEEDS[name]))]


def open_tokens(runtime: str | None, backbone: Backbone, precision: str, tell: Callable[[str], None] = log.info) -> PatchTokens:
    """What gives the patch tokens of ``backbone``.

    Args:
        runtime: one of `NAMES`, but not `AUTO`; a file that `stego export` wrote; None for torch.
        backbone: on the device to use.
        precision: "fp32" or "bf16" (see `runtime_precision`); what is int8 has one of its own.
        tell: gets one line where something takes long.

    Raises:
        StegoError: a package is missing, or the network cannot be written as a graph, or the graph disagrees with torch.
    """
    if runtime is not None and is_exported(runtime):
        return exported_tokens(Path(runtime), backbone, lowered=precision == "bf16")
    if runtime not in AS_GRAPH:
        return TorchTokens(backbone, lowered=precision == "bf16")
    for package in _NEEDS[runtime]:
        require(package, extra="openvino" if runtime == "openvino" else "onnx")
    if runtime == "openvino":
        graph: OpenVinoGraph | OnnxGraph = OpenVinoGraph(backbone_graph(backbone, "openvino", OpenVinoGraph, tell), lowered=precision == "bf16")
    else:
        path = backbone_graph(backbone, "onnxruntime", OnnxGraph, tell)
        graph = OnnxGraph(int8_graph(backbone, path) if runtime == "int8" else path)
    return GraphTokens(graph, architecture=backbone.spec.architecture, patch_size=backbone.patch_size)
