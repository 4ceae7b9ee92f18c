"""`stego export`: a backbone or segmenter as a graph file for other programs, with a JSON file that says how to use it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.artifact import is_artifact
from models.backbone import Backbone
from models.backbone_sources import DEFAULT, load_backbone
from models.errors import StegoError
from stego_app.atomic import check_place, output_error, replacing, write_text
from stego_app.classes import IGNORED, class_table
from stego_app.features.exposure import DARK
from stego_app.runtime.check import Agreement, check_images, compare, refuse_disagreement
from stego_app.runtime.exported import SUFFIXES
from stego_app.runtime.extras import require
from stego_app.runtime.graph import BackboneGraph, write_graph
from stego_app.runtime.onnx_tokens import OnnxGraph
from stego_app.runtime.openvino_tokens import OpenVinoGraph
from stego_app.runtime.segmenter_graph import SegmenterGraph
from stego_app.segmentation import hex_color
from stego_app.segmenter_file import SegmenterModel, default_segmenter_path, read_segmenter

LAYOUT = 1
_NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}


@dataclass(frozen=True)
class Exported:
    """What was written, and how far each output is from torch's on the check images."""

    files: tuple[Path, ...]
    agreement: Mapping[str, Agreement]


def export_model(kind: str, model: str, out: Path, tell: Callable[[str], None]) -> Exported:
    """Write ``model`` as a graph to ``out``, and what is needed to use it to ``out`` with the ending ``.json``.

    Args:
        kind: "onnx" or "openvino".
        model: a segmenter or backbone file, "default" for the embedded segmenter, or another name of a backbone (see `load_backbone`).
        out: ends with ``.onnx``, or with ``.xml`` (its ``.bin`` is written beside it).
        tell: gets a line on what takes long.

    Raises:
        StegoError: a wrong kind or ending, a package that is missing, a model that cannot be read or has no graph, a graph that
            disagrees with torch, or a folder that cannot be written to. Nothing is written then.
    """
    if kind not in SUFFIXES:
        raise StegoError(f"export '{kind}': expected {' or '.join(SUFFIXES)}")
    if out.suffix != SUFFIXES[kind]:
        raise StegoError(f"{out}: expected a name that ends with {SUFFIXES[kind]} for {kind}")
    for package in _NEEDS[kind]:
        require(package, extra=kind)
    check_place(out)
    network, about = _network(model)
    tell(f"exporting {model}; the exporter takes from ten seconds to a minute")
    try:
        with _placed(kind, out) as place:
            write_graph(network, network.outputs, network.backbone.patch_size, place.onnx, {"stego": json.dumps(about)})
            if kind == "openvino":
                openvino = require("openvino", extra="openvino")
                openvino.save_model(openvino.Core().read_model(str(place.onnx)), str(place.graph), compress_to_fp16=False)
            graph = OnnxGraph(place.graph) if kind == "onnx" else OpenVinoGraph(place.graph)
            found = compare(network, graph, network.outputs, check_images(network.backbone.patch_size))
            del graph  # it may hold the file open
            refuse_disagreement(found, str(out))
        about["agreement"] = {name: asdict(agreement) for name, agreement in found.items()}
        description = out.with_suffix(".json")
        write_text(description, json.dumps(about, indent=1))
    except OSError as error:
        raise output_error(out, error) from error
    files = (out, description) if kind == "onnx" else (out, out.with_suffix(".bin"), description)
    return Exported(files, found)


@dataclass(frozen=True)
class _Place:
    """Where files lie until they are known to be right."""

    onnx: Path
    graph: Path


@contextmanager
def _placed(kind: str, out: Path) -> Iterator[_Place]:
    """Unfinished files that take their places at the end of the block, and are removed if it fails."""
    if kind == "onnx":
        with replacing(out) as part:
            yield _Place(part, part)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=".stego-"))
    try:
        yield _Place(folder / "graph.onnx", folder / out.name)
        # The weights first: an .xml without its .bin cannot be read.
        for name in (out.with_suffix(".bin").name, out.name):
            os.chmod(folder / name, 0o644)
            os.replace(folder / name, out.parent / name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _network(model: str) -> tuple[BackboneGraph | SegmenterGraph, dict[str, Any]]:
    """The network to export, and what is to be said about it."""
    path = default_segmenter_path() if model == DEFAULT else Path(model)
    if model == DEFAULT or (path.suffix == ".safetensors" and is_artifact(path, "segmenter")):
        segmenter = read_segmenter(path)
        return SegmenterGraph(segmenter.backbone, segmenter.clusters).eval(), {**_about(segmenter.backbone), **_about_segmenter(segmenter)}
    backbone = load_backbone(model)
    return BackboneGraph(backbone).eval(), {**_about(backbone), "kind": "backbone"}


def _about(backbone: Backbone) -> dict[str, Any]:
    spec = backbone.spec
    return {
        "layout": LAYOUT,
        "architecture": spec.architecture,
        "block": spec.block,
        "patch_size": spec.patch_size,
        "backbone_fingerprint": backbone.fingerprint,
        "input": {"images": "float32 (batch, 3, height, width), RGB in [0, 1], sides multiples of patch_size; normalisation is inside"},
        "outputs": {"tokens": f"float32 (batch, {spec.dim}, rows, columns): patch tokens after the final norm"},
    }


def _about_segmenter(model: SegmenterModel) -> dict[str, Any]:
    clusters = model.clusters
    table = class_table(clusters.merges, model.shares, model.edits, clusters.classes)
    return {
        "kind": "segmenter",
        "outputs": {
            "tokens": f"float32 (batch, {model.backbone.dim}, rows, columns): patch tokens after the final norm",
            "codes": f"float32 (batch, {clusters.head.code_dim}, rows, columns): unit codes",
            "logits": f"float32 (batch, {len(clusters.fine)}, rows, columns): of the fine clusters; softmax over axis 1 gives probabilities",
        },
        "resolution": model.settings.resolution,
        "window": model.settings.window,
        "brighten_below": DARK if model.settings.brighten else 0.0,
        "ignored": IGNORED,
        "cluster_to_class": [int(label) for label in table.leaf_to_label],
        "classes": [{"id": index, "name": name, "color": hex_color(table.palette[index])} for index, name in enumerate(table.names)],
    }
