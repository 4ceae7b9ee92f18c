"""``stego train`` looks at images as large as what they show asks for, unless told a size."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.backbone import Backbone, save_backbone
from stego_app.cli import main
from stego_app.segmenter import Segmenter

FAST = ["--classes", "2", "--set", "discovery.codes=16", "--set", "discovery.steps=10", "--set", "discovery.batch=64", "--set", "discovery.fine=4"]


@pytest.fixture
def cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pictures of cells of random colours, 7 pixels wide at 224."""
    monkeypatch.setenv("STEGO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("stego_app.discovery.crop_pairs._VIEWS", 6)  # a hundred of them at 448 pixels take half a minute
    (tmp_path / "cells").mkdir()
    for number in range(3):
        colours = np.random.default_rng(number).integers(0, 256, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(colours.repeat(2, 0).repeat(2, 1)).save(tmp_path / "cells" / f"{number}.png")
    return tmp_path / "cells"


@pytest.fixture
def backbone(tiny_backbone: Backbone, tmp_path: Path) -> Path:
    save_backbone(tmp_path / "tiny.safetensors", tiny_backbone, precision="fp32")
    return tmp_path / "tiny.safetensors"


def stego(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["stego", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


@pytest.mark.parametrize(("given", "expected"), [((), 448), (("--resolution", "auto"), 448), (("--resolution", 112), 112)])
def test_small_things_are_looked_at_larger_and_the_report_says_so(
    given: tuple[object, ...], expected: int, cells: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cells.safetensors"
    assert stego(monkeypatch, "train", cells, "--out", out, "--backbone", backbone, *FAST, *given) == 0
    assert Segmenter.load(out).model.settings.resolution == expected
    said = "smaller than a patch at 224 pixels"
    notes = json.loads((tmp_path / "cells.report" / "report.json").read_text())["notes"]
    told = capsys.readouterr()
    assert (said in told.out) is any(said in note for note in notes) is (expected == 448)
    assert (said in told.err.partition("features: ")[0]) is (expected == 448)  # before the work that it makes longer


def test_labelling_that_finds_its_own_classes_says_so_too(
    cells: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Segmenter, "fit", partial(Segmenter.fit, backbone=str(backbone)))  # the embedded one takes a minute
    assert stego(monkeypatch, "label", cells, tmp_path / "out", "--fit", "--classes", 2, "--no-crf", "--jobs", 1) == 0
    assert "smaller than a patch at 224 pixels" in capsys.readouterr().out


def test_large_things_are_seen_as_usual(cells: Path, backbone: Path) -> None:
    for path in cells.iterdir():
        Image.open(path).resize((2, 2)).resize((64, 64), Image.Resampling.NEAREST).save(path)
    assert Segmenter.fit(sorted(cells.iterdir()), classes=2, backbone=str(backbone)).model.settings.resolution == 224


def test_all_parts_of_a_training_take_the_size_of_the_whole(cells: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = Image.new("RGB", (64, 64), "red")
    flat.paste("blue", (0, 0, 32, 64))
    flat.save(cells / "flat.png")  # whichever part it falls into would take another size by itself, were it alone
    for part in (1, 2, 3, 4):
        assert stego(monkeypatch, "train", cells, "--out", tmp_path / "x.safetensors", "--backbone", backbone, *FAST, "--shard", f"{part}/4") == 0
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 1


@pytest.mark.parametrize("value", ["large", "-5", "22.4"])
def test_a_size_that_is_none_is_refused(value: str, cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert stego(monkeypatch, "train", cells, "--out", tmp_path / "x.safetensors", "--resolution", value) != 0
    error = capsys.readouterr().err.strip()
    assert error.endswith(f"--resolution {value}: expected a number or 'auto'")
    assert len(error.splitlines()) == 1
