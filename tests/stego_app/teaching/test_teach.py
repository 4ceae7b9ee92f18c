"""``stego teach`` from the command line: one labelled image among several, and what can be wrong with labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.artifact import read_header
from models.backbone import Backbone, save_backbone
from stego_app.segmenter import Segmenter
from tests.stego_app.test_training_run import run, train

LEFT, RIGHT = (200, 40, 40), (40, 60, 210)


@pytest.fixture
def trained(tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Six pictures of two halves in a folder, and a segmenter that was trained on them without labels."""
    monkeypatch.setenv("STEGO_CACHE", str(tmp_path / "cache"))
    images = tmp_path / "set" / "images"
    images.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(6):
        picture = np.empty((96, 128, 3))
        picture[:, :64], picture[:, 64:] = LEFT, RIGHT
        Image.fromarray((picture + random.normal(0, 12, picture.shape)).clip(0, 255).astype(np.uint8)).save(images / f"{number}.png")
    backbone = tmp_path / "tiny.safetensors"
    save_backbone(backbone, tiny_backbone, precision="fp32")
    out = tmp_path / "plain.safetensors"
    assert train(monkeypatch, images, out, backbone, "--classes", 3) == 0
    return tmp_path / "set", out


def write_label(root: Path, name: str, left: int, right: int) -> None:
    (root / "labels").mkdir(exist_ok=True)
    label = np.full((96, 128), left, np.uint8)
    label[:, 64:] = right
    label[:8] = 255
    Image.fromarray(label).save(root / "labels" / name)


def test_one_labelled_image_names_the_classes_of_all(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, plain = trained
    (root / "meta.json").write_text(json.dumps({"classes": ["brick", "cloud", "water"]}))
    write_label(root, "2.png", 0, 2)
    out = tmp_path / "taught.safetensors"
    assert run(monkeypatch, "teach", plain, root, "--out", out) == 0
    said = capsys.readouterr().out
    assert "not in any label, so not among the classes: cloud" in said
    assert "2 classes from 1 labelled images of 6" in said
    segmenter = Segmenter.load(out)
    assert sorted(segmenter.table().names) == ["brick", "water"]
    assert segmenter.has_confidence
    assert read_header(out)["provenance"]["taught"]["labelled_images"] == 1
    for number in range(6):
        result = segmenter(np.asarray(Image.open(root / "images" / f"{number}.png")))
        brick, water = segmenter.table().names.index("brick"), segmenter.table().names.index("water")
        assert (result.labels[:, 20:50] == brick).mean() > 0.95
        assert (result.labels[:, 80:110] == water).mean() > 0.95
    renamed = segmenter.rename(segmenter.table().leaves_of(0), "wall")
    assert "wall" in renamed.table().names


def test_bad_labels_are_named(trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    root, plain = trained
    out = tmp_path / "taught.safetensors"
    assert run(monkeypatch, "teach", plain, root, "--out", out) == 2
    assert "no image has a label; expected label images of the same names" in capsys.readouterr().err
    write_label(root, "1.png", 0, 0)
    assert run(monkeypatch, "teach", plain, root, "--out", out) == 2
    assert "the labels show 1 classes; expected at least two in all" in capsys.readouterr().err
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(root / "labels" / "3.png")
    assert run(monkeypatch, "teach", plain, root, "--out", out) == 2
    assert "3.png" in capsys.readouterr().err
    assert not out.exists()
    write_label(root, "2.png", 0, 1)
    assert run(monkeypatch, "teach", plain, root, "--out", out) == 1
    told = capsys.readouterr()
    assert f"wrote {out}" in told.out
    assert told.err.strip().splitlines()[-1].startswith(f"could not read {root / 'labels' / '3.png'}: ")
    assert told.err.count("3.png") == 1
    assert Segmenter.load(out).default_classes == 2


@pytest.mark.parametrize("names", [["", "cloud"], ["a\nb", "cloud"]])
def test_a_class_that_cannot_be_called_so_is_named_and_nothing_is_written(
    names: list[str], trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, plain = trained
    (root / "meta.json").write_text(json.dumps({"classes": names}))
    write_label(root, "2.png", 0, 1)
    assert run(monkeypatch, "teach", plain, root, "--out", tmp_path / "taught.safetensors") == 2
    assert f"{root}: class name {names[0]!r}: expected 1 to 80 printable characters" in capsys.readouterr().err
    assert not (tmp_path / "taught.safetensors").exists()
