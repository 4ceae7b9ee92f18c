"""Confidence and abstention in batch labelling."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_label_folder import BLUE, GREEN, PLAIN, RED, ColourSegmenter, halves
from typer.testing import CliRunner

from models.errors import StegoError
from stego_app.cli import app
from stego_app.labelling import LabelSettings, label_folder
from stego_app.labelling import labeller as labeller_module
from stego_app.labelling.manifest import Manifest
from stego_app.labelling.summary import Doubt, LabelSummary

SURE = PLAIN.model_copy(update={"confidence": True})


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    halves(root / "a.png", RED, BLUE)
    halves(root / "deep" / "b.png", GREEN, BLUE)
    halves(root / "c.png", RED, RED)
    return root


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_maps_manifest_and_list_hold_the_confidence(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = label_folder(photos, out, ColourSegmenter(), SURE)
    shown = pixels(out / "confidence" / "deep" / "b.png")
    labels = pixels(out / "labels" / "deep" / "b.png")
    assert shown.dtype == np.uint8
    assert np.array_equal(shown, np.choose(labels, np.round(np.array([0.9, 0.5, 0.3]) * 255).astype(np.uint8)))
    rows = list(csv.reader((out / "confidence.csv").open()))
    assert rows[0] == ["path", "confidence"]
    assert [row[0] for row in rows[1:]] == ["deep/b.png", "a.png", "c.png"]
    assert [float(row[1]) for row in rows[1:]] == pytest.approx([shown.mean() / 255, 0.6, 0.9], abs=0.01)
    with Manifest(out) as manifest:
        assert manifest.entries["c.png"].confidence == pytest.approx(0.9)
        assert manifest.entries["c.png"].confidence_map == "confidence/c.png"
        assert manifest.entries["c.png"].abstained is None
    assert "least to be trusted: deep/b.png (0.4" in str(summary)
    assert summary.doubtful[0][0] == "deep/b.png"


def test_images_that_confidence_cannot_tell_apart_are_not_named_as_the_worst() -> None:
    def line(*confidences: float) -> str:
        doubtful = tuple(Doubt(f"{number}.png", confidence) for number, confidence in enumerate(confidences))
        return str(LabelSummary(Path("out"), len(doubtful), 0, (), 1.0, doubtful))

    assert line(0.4066, 0.4066, 0.4071).endswith("; confidence is 0.41 for every image and tells none apart, see out/confidence.csv")
    assert "least to be trusted: 0.png (0.41), 1.png (0.45)" in line(0.41, 0.45)
    assert "least to be trusted: 0.png (0.41)" in line(0.41)


def test_abstain_gives_no_class_below_the_threshold(photos: Path, tmp_path: Path) -> None:
    plain, out = tmp_path / "plain", tmp_path / "out"
    label_folder(photos, plain, ColourSegmenter(), PLAIN)
    label_folder(photos, out, ColourSegmenter(), PLAIN.model_copy(update={"abstain": 0.4, "overlays": True}))
    before, after = pixels(plain / "labels" / "a.png"), pixels(out / "labels" / "a.png")
    assert np.array_equal(after, np.where(before == 2, 255, before))
    assert not (out / "confidence").exists()
    with Manifest(out) as manifest:
        entry = manifest.entries["a.png"]
    assert entry.abstained == (before == 2).sum() == (entry.pixels or {})["255"]
    table = json.loads((out / "classes.json").read_text())
    assert table["ignored"]["abstained"] == table["ignored"]["pixels"] > 0
    # The image's own score is that of the labels before any were withheld.
    assert entry.confidence == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize(("threshold", "ignored"), [(0.0, 0.0), (1.0, 1.0)])
def test_the_ends_of_the_scale(photos: Path, tmp_path: Path, threshold: float, ignored: float) -> None:
    summary = label_folder(photos, tmp_path / "out", ColourSegmenter(), PLAIN.model_copy(update={"abstain": threshold}))
    assert (pixels(tmp_path / "out" / "labels" / "a.png") == 255).mean() == ignored
    assert f"; {ignored:.1%} of pixels are not sure enough for a class" in str(summary)


def test_asking_for_confidence_later_adds_it_and_asking_again_does_nothing(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    label_folder(photos, out, ColourSegmenter(), PLAIN)
    before = (out / "labels" / "a.png").read_bytes()
    assert not (out / "confidence.csv").exists()
    assert label_folder(photos, out, ColourSegmenter(), SURE).labelled == 3
    assert (out / "labels" / "a.png").read_bytes() == before
    assert label_folder(photos, out, ColourSegmenter(), SURE).skipped == 3
    (out / "confidence" / "a.png").unlink()
    assert label_folder(photos, out, ColourSegmenter(), SURE).labelled == 1
    assert label_folder(photos, out, ColourSegmenter(), PLAIN).skipped == 3
    assert (out / "confidence.csv").exists()


def test_another_threshold_labels_anew_and_none_is_the_same_as_before_there_was_one(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for threshold in (0.2, 0.4):
        assert label_folder(photos, out, ColourSegmenter(), PLAIN.model_copy(update={"abstain": threshold})).labelled == 3
    assert PLAIN.digest() == SURE.digest()
    assert "abstain" not in PLAIN.model_dump(exclude_none=True)


def test_worker_processes_give_the_same_files(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LabelSettings(jobs=2, confidence=True, abstain=0.4)
    label_folder(photos, tmp_path / "here", ColourSegmenter(), settings)
    monkeypatch.setattr(labeller_module, "FEW", 0)
    label_folder(photos, tmp_path / "there", ColourSegmenter(), settings)
    for path in (path for path in (tmp_path / "here").rglob("*") if path.is_file()):
        assert path.read_bytes() == (tmp_path / "there" / path.relative_to(tmp_path / "here")).read_bytes()


@pytest.mark.parametrize("asked", [{"confidence": True}, {"abstain": 0.5}])
def test_a_segmenter_without_the_table_says_what_is_missing(photos: Path, tmp_path: Path, asked: dict[str, float]) -> None:
    segmenter = ColourSegmenter()
    segmenter.has_confidence = False
    with pytest.raises(StegoError, match=r"holds no table of agreement.*stego train"):
        label_folder(photos, tmp_path / "out", segmenter, PLAIN.model_copy(update=asked))
    assert not (tmp_path / "out").exists()
    assert label_folder(photos, tmp_path / "out", segmenter, PLAIN).labelled == 3


def test_input_inside_the_folder_of_confidence_maps_is_refused(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    label_folder(photos, out, ColourSegmenter(), SURE)
    with pytest.raises(StegoError, match="lies where results are written"):
        label_folder(out / "confidence", out, ColourSegmenter(), PLAIN)


@pytest.mark.parametrize("threshold", ["1.5", "-0.1", "nan"])
def test_a_threshold_out_of_range_is_one_clear_line(photos: Path, tmp_path: Path, threshold: str) -> None:
    result = CliRunner().invoke(app, ["label", str(photos), str(tmp_path / "out"), "--abstain", threshold])
    assert result.exit_code != 0
    assert "expected 0 to 1" in result.output + str(result.exception)
    assert not (tmp_path / "out").exists()
