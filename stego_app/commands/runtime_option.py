"""What the option --runtime says wherever it is offered."""

from __future__ import annotations

RUNTIME = (
    "torch, torch-bf16, onnx, openvino, int8, or auto: the fastest here that keeps the labels, measured once; "
    "or a file that stego export wrote of this model. Torch if not given."
)
