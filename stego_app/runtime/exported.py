"""A file that `stego export` wrote as the runtime of the model it was made of: nothing is exported again, and no exporter need be installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.backbone import Backbone
from models.errors import StegoError
from stego_app.runtime.onnx_tokens import GraphTokens, OnnxGraph
from stego_app.runtime.openvino_tokens import OpenVinoGraph
from stego_app.runtime.tokens import PatchTokens

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}
"""Endings of exported files, by kind."""


def is_exported(runtime: str | None) -> bool:
    """Whether a runtime is named by a file."""
    return runtime is not None and runtime.endswith(tuple(SUFFIXES.values()))


def exported_tokens(path: Path, backbone: Backbone, *, lowered: bool) -> PatchTokens:
    """What gives the patch tokens of ``backbone``, from its exported graph ``path``.

    Args:
        path: an ``.onnx`` file, or an ``.xml`` with its ``.bin``; the ``.json`` that was written with it lies beside it.
        backbone: of the model that is to be run.
        lowered: multiply in bfloat16, in OpenVINO; ONNX Runtime has float32 alone.

    Raises:
        StegoError: a file that is missing or damaged, one of another backbone, or a runtime that is not installed.
    """
    if not path.is_file():
        raise StegoError(f"runtime {path}: no such file; expected what `stego export` wrote")
    about = _description(path.with_suffix(".json"), path)
    if about["backbone_fingerprint"] != backbone.fingerprint:
        raise StegoError(f"runtime {path}: exported from another backbone than this model's; export this one: stego export")
    graph: OnnxGraph | OpenVinoGraph = OnnxGraph(path) if path.suffix == ".onnx" else OpenVinoGraph(path, lowered=lowered)
    if "tokens" not in graph.outputs:
        raise StegoError(f"runtime {path}: has no output 'tokens'; expected what `stego export` wrote")
    return GraphTokens(graph, architecture=backbone.spec.architecture, patch_size=backbone.patch_size)


def _description(file: Path, graph: Path) -> dict[str, Any]:
    try:
        about = json.loads(file.read_text())
    except OSError as error:
        raise StegoError(f"runtime {graph}: {file.name} cannot be read; expected it beside the graph, as `stego export` wrote both") from error
    except ValueError as error:
        raise StegoError(f"{file}: not JSON; expected what `stego export` wrote") from error
    if not isinstance(about, dict) or not isinstance(about.get("backbone_fingerprint"), str):
        raise StegoError(f"{file}: does not say 'backbone_fingerprint'; expected what `stego export` wrote")
    return about
