"""Every runtime gives torch's labels; the choice keeps to what it promises; what is missing or wrong is one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from model_file import write_model

from models.backbone import Backbone
from models.errors import StegoError
from stego_app import Segmenter
from stego_app.runtime import choice, extras, opening, store
from stego_app.runtime.choice import Measured, fastest


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Backbone) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.safetensors", tiny_backbone)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the module, so that the graph is exported once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEGO_CACHE", str(cache))


def pictures() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in ((64, 96), (80, 64), (64, 96))]


@pytest.mark.parametrize(("runtime", "atol"), [("torch", 0.0), ("onnx", 1e-3), ("openvino", 1e-3), ("int8", 0.5)])
def test_tokens_are_torchs(runtime: str, atol: float, model: Path) -> None:
    for package in opening._NEEDS.get(runtime, ()):
        pytest.importorskip(package)
    reference = Segmenter.load(model, device="cpu", precision="fp32")
    # OpenVINO follows the precision asked for, and "auto" is bf16 on some processors; the others have one of their own.
    other = Segmenter.load(model, device="cpu", runtime=runtime, precision="fp32" if runtime == "openvino" else "auto")
    for ours, theirs in zip(other.encode_many(pictures(), flip=True), reference.encode_many(pictures(), flip=True), strict=True):
        assert ours.grid == theirs.grid
        assert torch.allclose(ours.tokens, theirs.tokens, atol=atol)
    assert other.info()["runtime"] == runtime
    # Only 8-bit arithmetic is another model for a folder that is labelled in two runs.
    assert (other.fingerprint == reference.fingerprint) == (runtime != "int8")
    assert other.ignore(other.table().leaves_of(0)).info()["runtime"] == runtime


def test_a_graph_is_exported_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in opening._NEEDS["onnx"]:
        pytest.importorskip(package)
    Segmenter.load(model, device="cpu", runtime="onnx")

    def never(*_: object) -> None:
        raise AssertionError("exported again")

    monkeypatch.setattr(store, "write_graph", never)
    Segmenter.load(model, device="cpu", runtime="onnx")


def test_a_damaged_graph_is_one_line_that_names_it(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in opening._NEEDS["onnx"]:
        pytest.importorskip(package)
    Segmenter.load(model, device="cpu", runtime="onnx")
    [graph] = store.graph_folder().glob("*-fp32-*.onnx")
    monkeypatch.setenv("STEGO_CACHE", str(tmp_path))
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime" / graph.name).write_bytes(b"not a graph")
    with pytest.raises(StegoError, match=rf"{graph.name}: not a graph that ONNX Runtime can read .* delete it") as caught:
        Segmenter.load(model, device="cpu", runtime="onnx")
    assert "\n" not in str(caught.value)


def test_a_missing_extra_is_one_line(model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEGO_CACHE", str(tmp_path))
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    for runtime, extra in (("onnx", "onnx"), ("openvino", "openvino"), ("int8", "onnx")):
        with pytest.raises(StegoError, match=rf"onnx is not installed; pip install 'stego-app\[{extra}\]'"):
            Segmenter.load(model, device="cpu", runtime=runtime)
    assert list(tmp_path.rglob("*.onnx")) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"runtime": "tensorrt"}, "runtime 'tensorrt': expected torch, torch-bf16, onnx, openvino, int8, auto, or a file that `stego export` wrote"),
        ({"runtime": "torch", "precision": "bf16"}, "precision 'bf16': runtime 'torch' has a precision of its own"),
        ({"runtime": "onnx", "device": "meta"}, "device 'meta': expected auto, cpu, cuda or mps"),
    ],
)
def test_requests_that_make_no_sense(given: dict[str, str], expected: str, model: Path) -> None:
    with pytest.raises(StegoError, match=expected):
        Segmenter.load(model, **given)


def test_the_fastest_that_keeps_the_labels() -> None:
    torch_, fast, wrong = Measured("torch", 3.0, 1.0), Measured("onnx", 2.0, 0.995), Measured("openvino", 1.0, 0.98)
    assert fastest([torch_, wrong]).runtime == "torch"
    assert fastest([torch_, fast, wrong]).runtime == "onnx"
    assert fastest([torch_, fast, Measured("int8", 1.0, 0.975)]).runtime == "int8"
    assert fastest([torch_, fast, Measured("int8", 1.0, 0.965)]).runtime == "onnx"
    assert str(fastest([torch_, fast])) == "runtime onnx: 1.5 times as fast as torch in float32 here, 99.50% of its patches get the same class"


def test_auto_measures_once_and_says_so(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEGO_CACHE", str(tmp_path))
    monkeypatch.setattr(choice, "available", lambda: ["torch", "torch-bf16"])  # no graph to export
    told: list[str] = []
    first = Segmenter.load(model, device="cpu", runtime="auto", tell=told.append)
    assert len(told) == 2
    assert told[0].startswith("measuring torch, torch-bf16")
    assert told[1].startswith(f"runtime {first.info()['runtime']}")
    [file] = (tmp_path / "runtime").glob("choice-*.json")
    kept = json.loads(file.read_text())
    assert [each["runtime"] for each in kept["measured"]] == ["torch", "torch-bf16"]
    assert kept["measured"][0]["agreement"] == 1.0
    monkeypatch.setattr(choice, "measure", None)
    again: list[str] = []
    assert Segmenter.load(model, device="cpu", runtime="auto", tell=again.append).info()["runtime"] == first.info()["runtime"]
    assert again == told[1:]
    file.write_text('{"runtime": "torch"')  # cut short: measured anew, which the patched function cannot
    with pytest.raises(TypeError):
        Segmenter.load(model, device="cpu", runtime="auto")
