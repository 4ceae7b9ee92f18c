"""What `stego export` wrote is a runtime of the model it was made of, and of no other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from model_file import write_model
from PIL import Image
from typer.testing import CliRunner

from models.backbone import Backbone
from models.errors import StegoError
from stego_app import Segmenter
from stego_app.cli import app
from stego_app.runtime import export_model as exporter
from stego_app.runtime import opening

KINDS = {"onnx": "model.onnx", "openvino": "model.xml"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Backbone) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.safetensors", tiny_backbone)


@pytest.fixture(scope="module", params=KINDS)
def graph(request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in opening._NEEDS[request.param]:
        pytest.importorskip(package)
    out = tmp_path_factory.mktemp("graph") / KINDS[request.param]
    exporter.export_model(request.param, str(model), out, lambda _line: None)
    return out


def test_an_exported_file_labels_as_torch_does(graph: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    precision = "fp32" if graph.suffix == ".xml" else "auto"
    ours, reference = Segmenter.load(model, device="cpu", runtime=str(graph), precision=precision), Segmenter.load(model, device="cpu", precision="fp32")
    assert torch.allclose(ours.encode(image).tokens, reference.encode(image).tokens, atol=1e-3)
    assert ours.info()["runtime"] == str(graph)

    monkeypatch.setattr(opening, "backbone_graph", None)  # nothing is exported for it
    for runtime, out in ((str(graph), "graph"), ("torch", "torch")):
        done = CliRunner().invoke(app, ["label", str(tmp_path / "a.png"), str(tmp_path / out), "--model", str(model), "--runtime", runtime, "--no-crf"])
        assert done.exit_code == 0, done.output
    first, second = (np.asarray(Image.open(tmp_path / out / "labels" / "a.png")) for out in ("graph", "torch"))
    assert (first == second).mean() > 0.97


def test_of_another_backbone_it_is_refused(graph: Path, model: Path) -> None:
    description = graph.with_suffix(".json")
    about = description.read_text()
    try:
        description.write_text(json.dumps(json.loads(about) | {"backbone_fingerprint": "0" * 16}))
        with pytest.raises(StegoError, match=rf"{graph.name}: exported from another backbone"):
            Segmenter.load(model, runtime=str(graph))
        description.write_text("{}")
        with pytest.raises(StegoError, match="does not say 'backbone_fingerprint'"):
            Segmenter.load(model, runtime=str(graph))
        description.write_text("no")
        with pytest.raises(StegoError, match="not JSON"):
            Segmenter.load(model, runtime=str(graph))
        description.unlink()
        with pytest.raises(StegoError, match=rf"{description.name} cannot be read"):
            Segmenter.load(model, runtime=str(graph))
    finally:
        description.write_text(about)


def test_what_is_not_there_or_contradicts_is_one_line(model: Path, tmp_path: Path) -> None:
    with pytest.raises(StegoError, match=r"none.onnx: no such file"):
        Segmenter.load(model, runtime=str(tmp_path / "none.onnx"))
    with pytest.raises(StegoError, match=r"precision 'bf16': runtime '.*none.onnx' has a precision of its own"):
        Segmenter.load(model, runtime=str(tmp_path / "none.onnx"), precision="bf16")
    with pytest.raises(StegoError, match=r"runtime 'tflite': expected torch, .*, or a file that `stego export` wrote"):
        Segmenter.load(model, runtime="tflite")
