"""The stage through its command: a bridge file from folders of images, and bad input by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize
from typer.testing import CliRunner

from models.backbone import Backbone, save_backbone
from models.errors import StegoError
from models.text.bridge import read_bridge
from models.text.sentences import MiniLm
from pretrain.naming.material import named_images
from stego_app.cli import app

COLOURS = ["red", "green", "blue", "cyan", "plum", "gold", "grey", "pink", "teal", "navy", "rust", "lime", "sand"]


class Letters:
    """A sentence model whose vectors count letters."""

    fingerprint = "letters"

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        return normalize(torch.tensor([[1.0 + text.count(chr(97 + letter)) for letter in range(26)] for text in texts]), dim=1)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name in COLOURS:
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(2):
            pixels = random.integers(0, 255, (1, 1, 3)) + random.integers(0, 20, (32, 32, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "data" / name / f"{number}.png")
    return tmp_path / "data"


def test_the_command_writes_a_bridge_and_says_how_good_it_is(folders: Path, tmp_path: Path, tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MiniLm, "load", classmethod(lambda _cls: Letters()))
    save_backbone(tmp_path / "tiny.safetensors", tiny_backbone, precision="fp32")
    out = tmp_path / "bridge.safetensors"
    arguments = ["pretrain", "naming", str(folders), "--out", str(out), "--backbone", str(tmp_path / "tiny.safetensors"), "--resolution", "32"]
    result = CliRunner().invoke(app, [*arguments, "--cache", str(tmp_path / "cache")])
    assert result.exit_code == 0, result.output
    assert "names held out" in result.output
    bridge = read_bridge(out)
    assert bridge.backbone == tiny_backbone.fingerprint
    assert bridge.sentences == "letters"
    assert len(bridge.word_anchors) == len(COLOURS)
    again = CliRunner().invoke(app, [*arguments, "--cache", str(tmp_path / "cache"), "--exclude", "red"])
    assert again.exit_code == 0, again.output
    assert len(read_bridge(out).word_anchors) == len(COLOURS) - 1
    few = CliRunner().invoke(app, [*arguments, "--cache", str(tmp_path / "cache"), "--exclude", "red", "--exclude", "green"])
    assert isinstance(few.exception, StegoError)
    assert "only 11 different names; expected 12 or more" in str(few.exception)


def test_names_come_from_folders_or_from_a_table(folders: Path, tmp_path: Path) -> None:
    assert set(named_images([folders]).names) == set(COLOURS)
    table = tmp_path / "names.json"
    table.write_text(json.dumps({"red": ["crimson", "colour"], "green": []}))
    found = named_images([folders], table)
    assert "crimson" in found.names
    assert "green" not in found.names
    assert found.broader[found.names.index("crimson")] == ("colour",)


@pytest.mark.parametrize(("text", "said"), [("{", "not JSON"), ('{"red": "crimson"}', "expected {"), ("[]", "expected {")])
def test_a_bad_table_is_named(folders: Path, tmp_path: Path, text: str, said: str) -> None:
    table = tmp_path / "names.json"
    table.write_text(text)
    with pytest.raises(StegoError, match=f"names.json.*{said}"):
        named_images([folders], table)


def test_one_name_is_too_few(folders: Path) -> None:
    with pytest.raises(StegoError, match=r"images of 1 name\(s\)"):
        named_images([folders / "red"])
