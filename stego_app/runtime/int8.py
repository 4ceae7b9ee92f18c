"""A graph with its matrix products in 8 bits: weights by output channel, activations by tensor as they come."""

from __future__ import annotations

from pathlib import Path

from models.errors import StegoError
from stego_app.runtime.extras import require


def quantise_graph(source: Path, target: Path) -> None:
    """Write the ONNX graph ``source`` to ``target`` with int8 matrix products (ONNX Runtime's dynamic quantisation); not atomic.

    The convolution that makes patches of pixels, norms, softmax and everything on positions stay in float32.

    Raises:
        StegoError: ONNX Runtime is not installed, or finds no matrix product to quantise.
    """
    require("onnxruntime", extra="onnx")
    quantization = require("onnxruntime.quantization", extra="onnx")
    onnx = require("onnx", extra="onnx")
    model = onnx.load_model(str(source))
    # Says that shapes need not be inferred first: it would warn on the root logger, and install a handler there.
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    onnx.save_model(model, str(target))
    quantization.quantize_dynamic(str(target), str(target), weight_type=quantization.QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul", "Gemm"])
    if not any(node.op_type in {"MatMulInteger", "DynamicQuantizeMatMul"} for node in onnx.load_model(str(target)).graph.node):
        raise StegoError(f"{source}: holds no matrix product that could be done in 8 bits; use --runtime onnx")
