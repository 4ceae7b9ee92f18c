"""Graphs give what torch gives, at every size; what does not is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_file import write_model
from torch.nn.functional import interpolate
from typer.testing import CliRunner

from models.backbone import Backbone
from models.errors import StegoError
from stego_app.cli import app
from stego_app.runtime import export_model
from stego_app.runtime.check import check_images, compare, refuse_disagreement
from stego_app.runtime.position_resampling import portable_positions, resampling_weights
from stego_app.segmenter import Segmenter


@given(st.integers(2, 40), st.integers(2, 40), st.integers(2, 60), st.integers(2, 60))
def test_resampling_is_torchs_antialiased_bicubic(height: int, width: int, rows: int, columns: int) -> None:
    values = torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(height * 61 + width))
    expected = interpolate(values, size=(rows, columns), mode="bicubic", antialias=True)
    found = resampling_weights(height, rows) @ values @ resampling_weights(width, columns).T
    assert torch.allclose(found, expected, atol=5e-5)


def test_portable_positions_change_nothing_for_torch(tiny_backbone: Backbone) -> None:
    images = torch.rand(2, 3, 80, 48, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = tiny_backbone(images).patches
        with portable_positions():
            inside = tiny_backbone(images).patches
        after = tiny_backbone(images).patches
    assert torch.allclose(inside, expected, atol=1e-5)
    assert torch.equal(after, expected)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Backbone) -> Path:
    """A folder with a segmenter and its ONNX graph."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("export")
    model = write_model(folder / "tiny.safetensors", tiny_backbone)
    result = CliRunner().invoke(app, ["export", "onnx", str(model), str(folder / "tiny.onnx")])
    assert result.exit_code == 0, f"{result.output} {result.exception!r}"
    assert "logits: largest difference" in result.output
    return folder


def test_without_torch_the_graph_and_its_description_give_the_segmenters_classes(exported: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(exported / "tiny.onnx"))
    about = json.loads((exported / "tiny.json").read_text())
    segmenter = Segmenter.load(exported / "tiny.safetensors", device="cpu", precision="fp32")
    pixels = np.random.default_rng(0).integers(0, 256, (96, 64, 3), dtype=np.uint8)
    images = pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255
    tokens, codes, logits = session.run(["tokens", "codes", "logits"], {"images": images})
    fine = np.exp(logits[0] - logits[0].max(axis=0))
    fine /= fine.sum(axis=0)
    classes = np.zeros((len(about["classes"]), *fine.shape[1:]), np.float32)
    np.add.at(classes, about["cluster_to_class"], fine)
    encoded = segmenter.encode(pixels, resolution=64)
    assert np.allclose(tokens[0].reshape(tokens.shape[1], -1).T, encoded.tokens, atol=1e-3)
    assert np.allclose(codes[0].reshape(codes.shape[1], -1).T, segmenter.codes(encoded), atol=1e-3)
    assert np.allclose(classes, segmenter.probabilities(encoded)[:-1], atol=1e-3)
    assert [entry["name"] for entry in about["classes"]] == segmenter.class_names()
    assert json.loads(session.get_modelmeta().custom_metadata_map["stego"])["backbone_fingerprint"] == about["backbone_fingerprint"]


def test_openvino_reads_the_same(exported: Path) -> None:
    openvino = pytest.importorskip("openvino")
    result = CliRunner().invoke(app, ["export", "openvino", str(exported / "tiny.safetensors"), str(exported / "ov" / "tiny.xml")])
    assert result.exit_code == 0, f"{result.output} {result.exception!r}"
    assert sorted(path.name for path in (exported / "ov").iterdir()) == ["tiny.bin", "tiny.json", "tiny.xml"]
    core = openvino.Core()
    images = np.random.default_rng(0).random((2, 3, 48, 80), dtype=np.float32)
    ours = core.compile_model(core.read_model(str(exported / "ov" / "tiny.xml")), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(images)
    theirs = core.compile_model(core.read_model(str(exported / "tiny.onnx")), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(images)
    assert np.allclose(ours["logits"], theirs["logits"], atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["tensorrt", "default", "a.onnx"], "export 'tensorrt': expected onnx or openvino"),
        (["onnx", "default", "a.xml"], "a.xml: expected a name that ends with .onnx"),
        (["openvino", "default", "a.onnx"], "a.onnx: expected a name that ends with .xml"),
        (["onnx", "absent.safetensors", "a.onnx"], "absent.safetensors: no such"),
    ],
)
def test_what_cannot_be_exported_is_one_line(arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["export", *arguments])
    assert isinstance(result.exception, StegoError)
    assert expected in str(result.exception)
    assert "\n" not in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_taken_is_told_before_the_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the model was read")

    monkeypatch.setattr(export_model, "_network", never)
    (tmp_path / "a.onnx").mkdir()
    result = CliRunner().invoke(app, ["export", "onnx", "default", str(tmp_path / "a.onnx")])
    assert str(result.exception) == f"{tmp_path / 'a.onnx'}: is a folder; expected a file to write"


class _Off:
    """A graph whose answer is off by ``by`` in one patch."""

    def __init__(self, network: torch.nn.Module, by: float) -> None:
        self._network = network
        self._by = by

    def run(self, images: npt.NDArray[np.float32]) -> Mapping[str, npt.NDArray[np.float32]]:
        with torch.inference_mode():
            tokens = self._network(torch.from_numpy(images)).patches.numpy().copy()
        tokens[0, :, 0, 0] += self._by
        return {"tokens": tokens}


class _Patches(torch.nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.backbone(images).patches,)


def test_a_graph_that_is_off_is_refused(tiny_backbone: Backbone) -> None:
    network, batches = _Patches(tiny_backbone), check_images(16)
    refuse_disagreement(compare(network, _Off(tiny_backbone, 1e-5), ["tokens"], batches), "tiny")
    for by in (0.5, float("nan")):
        with pytest.raises(StegoError, match=r"tiny: its 'tokens' differ from torch's .* nothing was written"):
            refuse_disagreement(compare(network, _Off(tiny_backbone, by), ["tokens"], batches), "tiny")
