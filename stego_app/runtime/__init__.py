"""Where patch tokens come from: torch, or a graph of the same network in ONNX Runtime or OpenVINO.

One idea a file: `tokens` is the seam, `torch_tokens`, `onnx_tokens` and `openvino_tokens` fill it; `graph` writes a network
as an ONNX graph and `check` holds it to torch's answer; `store` keeps graphs; `choice` finds the fastest that keeps the labels;
`opening` turns a name into what gives tokens.
"""
