"""The user's folder of exported graphs, so that each network is exported once on a machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from models.backbone import Backbone
from stego_app.atomic import output_error, remove_stale_parts, replacing
from stego_app.features.location import default_cache_folder
from stego_app.runtime.check import check_images, compare, refuse_disagreement
from stego_app.runtime.graph import BackboneGraph, write_graph
from stego_app.runtime.int8 import quantise_graph
from stego_app.runtime.tokens import Graph

REVISION = 1
"""Raised when graphs are written differently than before."""

Tell = Callable[[str], None]


def graph_folder() -> Path:
    """Where graphs are kept: ``runtime`` in the user's cache folder (see `default_cache_folder`)."""
    return default_cache_folder() / "runtime"


def backbone_graph(backbone: Backbone, reader: str, open_graph: Callable[[Path], Graph], tell: Tell) -> Path:
    """The ONNX graph of ``backbone``, exported unless that was done before, and compared with torch as ``reader`` runs it, once for each reader.

    Args:
        backbone: on the CPU.
        reader: what runs the file; two may compute the same graph differently.
        open_graph: runs a file, for the comparison.
        tell: gets one line where the graph has to be made, which takes from ten seconds to a minute.

    Raises:
        StegoError: see `write_graph`; or the graph disagrees with torch, or cannot be written.
    """
    path = _path(backbone, "fp32")
    agrees = path.with_name(f"{path.name}.{reader}")  # an empty file: this reader has been compared
    if path.is_file() and agrees.is_file():
        return path
    network = BackboneGraph(backbone)

    def check(file: Path) -> None:
        found = compare(network, open_graph(file), network.outputs, check_images(backbone.patch_size))
        refuse_disagreement(found, f"the graph of {backbone.spec.architecture} as {reader} runs it")

    def write(part: Path) -> None:
        write_graph(network, network.outputs, backbone.patch_size, part, {"stego": backbone.fingerprint})
        check(part)

    if path.is_file():
        check(path)
    else:
        tell(f"exporting the {backbone.spec.architecture} to {path}, once for this backbone")
        _written(path, write)
    _written(agrees, Path.touch)
    return path


def int8_graph(backbone: Backbone, source: Path) -> Path:
    """The graph ``source`` of ``backbone`` in 8 bits, made unless that was done before.

    Raises:
        StegoError: see `quantise_graph`.
    """
    path = _path(backbone, "int8")
    if not path.is_file():
        _written(path, lambda part: quantise_graph(source, part))
    return path


def _path(backbone: Backbone, kind: str) -> Path:
    version = torch.__version__.split("+")[0]
    return graph_folder() / f"{backbone.fingerprint}-{kind}-r{REVISION}-torch{version}.onnx"


def _written(path: Path, write: Callable[[Path], None]) -> None:
    try:
        remove_stale_parts(path.parent)
        with replacing(path) as part:
            write(part)
    except OSError as error:
        raise output_error(path, error) from error
