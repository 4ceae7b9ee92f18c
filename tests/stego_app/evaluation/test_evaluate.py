"""Evaluation from folder to report with a segmenter whose answers are known."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from models.errors import StegoError
from stego_app.confidence import Trust
from stego_app.data import open_dataset
from stego_app.data.dataset import evenly
from stego_app.encoder import Encoded
from stego_app.evaluation import EvaluationReport, EvaluationSettings, Scores, evaluate_segmenter, hungarian_scores
from stego_app.evaluation.confusion import confusion_picture

PATCH = 8
GRID = (6, 8)
COLOURS = np.array([[220, 30, 30], [30, 200, 40], [40, 60, 230], [230, 220, 40]], dtype=np.uint8)
NAMES = ("red", "green", "blue")
OFF = EvaluationSettings(crf="off", linear_probe=False)


@dataclass
class ByColour:
    """Puts each patch into the cluster of its colour, numbered by ``order``; ``ignored`` colours are given none."""

    order: tuple[int, ...] = (0, 1, 2)
    ignored: tuple[int, ...] = ()
    calls: list[dict[str, Any]] = field(default_factory=list)
    has_confidence: bool = True
    doubted: int = 2

    def info(self) -> dict[str, Any]:
        return {"name": "by colour"}

    def class_names(self, classes: int | None = None) -> list[str]:
        if classes is not None and classes > len(COLOURS):
            raise StegoError(f"classes {classes}: this segmenter has {len(COLOURS)} fine clusters")
        return [f"cluster {number}" for number in range(classes or len(self.order))]

    def palette(self, classes: int | None = None) -> npt.NDArray[np.uint8]:
        return COLOURS[: len(self.class_names(classes))]

    def encode(self, image: npt.NDArray[np.uint8], *, flip: bool = False, resolution: int | None = None, window: int | None = None) -> Encoded:
        self.calls.append({"flip": flip, "resolution": resolution, "window": window})
        height, width = image.shape[0] // PATCH, image.shape[1] // PATCH
        means = image[: height * PATCH, : width * PATCH].reshape(height, PATCH, width, PATCH, 3).mean(axis=(1, 3))
        return Encoded(image, torch.from_numpy(means.reshape(-1, 3)).float(), (height, width))

    def probabilities(self, encoded: Encoded, *, classes: int | None = None) -> npt.NDArray[np.float32]:
        nearest = torch.cdist(encoded.tokens, torch.from_numpy(COLOURS[: len(self.order)]).float()).argmin(dim=1).numpy()
        count = len(self.class_names(classes))
        row = np.array([count if colour in self.ignored else min(self.order[colour], count - 1) for colour in range(len(self.order))])
        return np.eye(count + 1, dtype=np.float32)[row[nearest]].T.reshape(count + 1, *encoded.grid)

    def probabilities_and_trust(self, encoded: Encoded, *, classes: int | None = None) -> tuple[npt.NDArray[np.float32], Trust]:
        known = np.full(len(self.class_names(classes)) + 1, 0.9, np.float32)
        known[self.doubted] = 0.2
        trust = known[:, None, None] * np.ones((1, *encoded.grid), np.float32)
        return self.probabilities(encoded, classes=classes), trust

    def codes(self, encoded: Encoded) -> torch.Tensor:
        return torch.ones(len(encoded.tokens), 2)  # nothing left of the features

    def detailed_codes(self, encoded: Encoded) -> torch.Tensor:
        return torch.cat([self.codes(encoded), encoded.tokens], dim=1)


def make_folder(root: Path, images: int = 6, *, values: tuple[int, ...] = (0, 1, 2), named: bool = True) -> list[npt.NDArray[np.int64]]:
    """Images of coloured patches with the labels ``values``; returns the colour of each patch of each image."""
    random = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    maps = []
    for number in range(images):
        patches = random.integers(0, len(values), GRID)
        whole = np.kron(patches, np.ones((PATCH, PATCH), dtype=np.int64))
        noise = random.integers(-12, 13, (*whole.shape, 3))
        Image.fromarray(np.clip(COLOURS[whole] + noise, 0, 255).astype(np.uint8)).save(root / f"images/{number}.png")
        label = np.array(values, dtype=np.uint8)[whole]
        label[:2] = 255
        Image.fromarray(label).save(root / f"labels/{number}.png")
        maps.append(patches)
    if named:
        (root / "meta.json").write_text(json.dumps({"classes": list(NAMES)}))
    return maps


def evaluate(root: Path, segmenter: ByColour | None = None, settings: EvaluationSettings = OFF) -> EvaluationReport:
    return evaluate_segmenter(segmenter or ByColour(), open_dataset(root / "set"), settings, root / "out")


def test_right_segmenter_in_any_numbering_scores_100_but_for_borders(tmp_path: Path) -> None:
    make_folder(tmp_path / "set")
    for order in ((0, 1, 2), (2, 0, 1)):
        report = evaluate(tmp_path, ByColour(order))
        scores = report.scores["hungarian"]
        assert scores.accuracy > 93  # corners where three patches meet are blurred by upsampling
        assert scores.miou > 87
        assert [scores.matching[order[colour]] for colour in range(3)] == [0, 1, 2]
        assert scores.names == NAMES
        assert report.images == 6
        assert set(report.scores) == {"hungarian", "majority"}


def test_counts_against_a_naive_loop_over_pixels(tmp_path: Path) -> None:
    make_folder(tmp_path / "set", 3)
    segmenter = ByColour((1, 2, 0))
    report = evaluate(tmp_path, segmenter)
    dataset = open_dataset(tmp_path / "set")
    counts = np.zeros((3, 3), dtype=np.int64)
    for sample in dataset.samples:
        image, label = dataset.read_pair(sample)
        maps = torch.from_numpy(segmenter.probabilities(segmenter.encode(image), classes=3))[None]
        said = torch.nn.functional.interpolate(maps, size=label.shape, mode="bilinear", align_corners=False)[0].argmax(0).numpy()
        for mine, right in zip(said.ravel().tolist(), label.ravel().tolist(), strict=True):
            if right != 255:
                counts[mine, right] += 1
    expected = hungarian_scores(counts, NAMES)
    assert report.scores["hungarian"].accuracy == pytest.approx(expected.accuracy, abs=0.3)  # OpenCV resizes in fixed point: exact ties may tip
    assert report.scores["hungarian"].miou == pytest.approx(expected.miou, abs=0.5)
    assert report.scores["hungarian"].confusion.sum() == counts.sum() == 3 * (GRID[0] * PATCH - 2) * GRID[1] * PATCH


def test_report_files(tmp_path: Path) -> None:
    make_folder(tmp_path / "set")
    report = evaluate(tmp_path)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["confusion.png", "scores.json", "scores.md"]
    stored = json.loads((tmp_path / "out/scores.json").read_text())
    assert stored == json.loads(json.dumps(report.as_dict()))
    assert stored["scores"]["hungarian"]["per_class"][0]["name"] == "red"
    assert stored["settings"]["classes"] == 3
    text = (tmp_path / "out/scores.md").read_text()
    assert text == report.as_markdown()
    assert f"{report.scores['hungarian'].miou:.1f}" in text
    with Image.open(tmp_path / "out/confusion.png") as picture:
        assert min(picture.size) > 200


def test_unreadable_images_and_labels_are_listed_and_the_others_scored(tmp_path: Path) -> None:
    make_folder(tmp_path / "set", 8)
    (tmp_path / "set/images/1.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((5, 5), dtype=np.uint8)).save(tmp_path / "set/labels/3.png")
    Image.fromarray(np.full((48, 64), 9, dtype=np.uint8)).save(tmp_path / "set/labels/4.png")
    report = evaluate(tmp_path)
    assert report.images == 5
    assert [key for key, _ in report.failures] == ["1", "3", "4"]
    reasons = [reason for _, reason in report.failures]
    assert "1.png: not an image" in reasons[0]
    assert "label is 5 × 5; expected 64 × 48" in reasons[1]
    assert "unknown label values 9; expected 0 to 2" in reasons[2]
    assert report.scores["hungarian"].accuracy > 93
    assert "3 images were left out" in report.as_markdown()


def test_nothing_readable_and_no_labels(tmp_path: Path) -> None:
    make_folder(tmp_path / "set", 2)
    for path in (tmp_path / "set/images").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(StegoError, match="none of 2 images could be scored"):
        evaluate(tmp_path)
    make_folder(tmp_path / "other", 2)
    for path in (tmp_path / "other/labels").iterdir():
        path.unlink()
    (tmp_path / "other/labels").rmdir()
    with pytest.raises(StegoError, match="no image has a label"):
        evaluate_segmenter(ByColour(), open_dataset(tmp_path / "other"), OFF, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_report_folder_that_cannot_be_made(tmp_path: Path) -> None:
    make_folder(tmp_path / "set", 2)
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(StegoError, match="the folder cannot be made"):
        evaluate(tmp_path)


def test_classes_without_names_are_the_values_that_occur(tmp_path: Path) -> None:
    make_folder(tmp_path / "set", values=(3, 77, 200), named=False)
    report = evaluate(tmp_path)
    assert report.scores["hungarian"].names == ("label 3", "label 77", "label 200")
    assert report.settings["classes"] == 3
    assert report.scores["hungarian"].accuracy > 93


def test_labels_of_void_only(tmp_path: Path) -> None:
    make_folder(tmp_path / "set", 2, values=(255, 255), named=False)
    with pytest.raises(StegoError, match="no label that can be read holds a class"):
        evaluate(tmp_path)


def test_another_number_of_clusters_than_classes(tmp_path: Path) -> None:
    make_folder(tmp_path / "set")
    more = evaluate(tmp_path, settings=EvaluationSettings(classes=4, crf="off", linear_probe=False))
    assert more.scores["hungarian"].matching[3] == -1
    assert any("4 clusters against 3 classes" in note for note in more.notes)
    fewer = evaluate(tmp_path, settings=EvaluationSettings(classes=2, crf="off", linear_probe=False))
    assert fewer.settings["classes"] == 2
    assert sorted(fewer.scores["hungarian"].per_class)[0] == 0
    with pytest.raises(StegoError, match="classes 9: this segmenter has 4"):
        evaluate(tmp_path, settings=EvaluationSettings(classes=9, crf="off", linear_probe=False))


def test_ignored_pixels_count_as_errors(tmp_path: Path) -> None:
    maps = make_folder(tmp_path / "set")
    report = evaluate(tmp_path, ByColour(ignored=(1,)))
    scores = report.scores["hungarian"]
    share = np.mean([patches == 1 for patches in maps])
    assert scores.confusion[1, -1] > 0.85 * scores.confusion[1].sum()
    assert scores.accuracy == pytest.approx(100 * (1 - share), abs=6)
    assert scores.per_class[1] == 0


def test_limit_and_settings_reach_the_segmenter(tmp_path: Path) -> None:
    make_folder(tmp_path / "set", 7)
    segmenter = ByColour()
    report = evaluate(tmp_path, segmenter, EvaluationSettings(crf="off", linear_probe=False, limit=3, flip=True, resolution=96, window=48))
    assert report.images == 3
    assert segmenter.calls == [{"flip": True, "resolution": 96, "window": 48}] * 3
    dataset = open_dataset(tmp_path / "set")
    assert [sample.key for sample in evenly(dataset.samples, 3)] == ["0", "3", "6"]
    assert len(evenly(dataset.samples, 99)) == 7


def test_images_without_a_label_are_noted(tmp_path: Path) -> None:
    make_folder(tmp_path / "set")
    (tmp_path / "set/labels/5.png").unlink()
    report = evaluate(tmp_path)
    assert report.images == 5
    assert "1 images without a label were left out." in report.notes


def test_linear_probes_on_features_and_codes(tmp_path: Path) -> None:
    make_folder(tmp_path / "set", 7)
    report = evaluate(tmp_path, settings=EvaluationSettings(crf="off"))
    features, codes = report.scores["linear_features"], report.scores["linear_codes"]
    assert features.accuracy > 90
    assert codes.accuracy < 50  # constant codes: the most frequent class
    assert report.scores["linear_detailed_codes"].accuracy > 90
    pixels = (GRID[0] * PATCH - 2) * GRID[1] * PATCH
    assert features.confusion.sum() == codes.confusion.sum() == 3 * pixels  # the images that they were not trained on
    assert report.scores["hungarian"].confusion.sum() == 7 * pixels
    assert any("trained with labels on 4 of these images" in note for note in report.notes)
    assert report.scores["linear_features"].as_dict() == evaluate(tmp_path, settings=EvaluationSettings(crf="off")).scores["linear_features"].as_dict()


def test_linear_probe_needs_two_images(tmp_path: Path) -> None:
    make_folder(tmp_path / "set", 1)
    report = evaluate(tmp_path, settings=EvaluationSettings(crf="off"))
    assert "linear_features" not in report.scores
    assert any("needs two labelled images" in note for note in report.notes)


def test_with_and_without_crf_in_worker_processes(tmp_path: Path) -> None:
    make_folder(tmp_path / "set", 3)
    progress: list[tuple[str, int, int]] = []
    dataset = open_dataset(tmp_path / "set")
    settings = EvaluationSettings(crf="both", linear_probe=False, workers=1)
    report = evaluate_segmenter(ByColour(), dataset, settings, tmp_path / "out", lambda *step: progress.append(step))
    assert list(report.scores) == ["hungarian", "hungarian_crf", "majority", "majority_crf"]
    plain = evaluate(tmp_path).scores["hungarian"]
    np.testing.assert_array_equal(report.scores["hungarian"].confusion, plain.confusion)
    assert report.main.accuracy > plain.accuracy  # the CRF finds the edges of coloured squares
    assert progress[-1] == ("scoring", 3, 3)


def test_unknown_crf_mode() -> None:
    with pytest.raises(StegoError, match="expected on, off or both"):
        EvaluationSettings(crf="maybe")


def test_markdown_lists_each_class_with_its_cluster() -> None:
    scores: dict[str, Scores] = {"hungarian": hungarian_scores(np.array([[0, 30, 0], [60, 0, 0], [0, 10, 0]]), ["sky", "road | path", "boat"])}
    report = EvaluationReport("demo", {"name": "x"}, {}, ("cluster a", "cluster b", "cluster c"), 4, scores, ("A note.",), (("broken", "why"),))
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in report.as_markdown().splitlines() if line.startswith("|")]
    assert ["sky", "60.0", "100.0", "cluster b"] in rows
    assert ["road \\| path", "40.0", "75.0", "cluster a"] in rows
    assert ["boat", "0.0", "–", "cluster c"] in rows
    assert ["clusters, Hungarian", "87.5", "90.0"] in rows


@pytest.mark.parametrize("classes", [1, 3, 27])
def test_confusion_picture(classes: int) -> None:
    random = np.random.default_rng(0)
    counts = random.integers(0, 50, (classes, classes)) + 400 * np.eye(classes, dtype=np.int64)
    data = confusion_picture(hungarian_scores(counts, [f"class name {number}" for number in range(classes)], ignored=np.full(classes, 9)), "a title")
    with Image.open(BytesIO(data)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.std() > 5
    assert min(pixels.shape[:2]) > 110 * 0.42 * classes


def test_names_may_hold_signs_of_formulas_and_letters_that_the_font_lacks(recwarn: pytest.WarningsRecorder) -> None:
    scores = hungarian_scores(9 * np.eye(3, dtype=np.int64), ["under $5", "$x_{", "\u732b"])
    assert confusion_picture(scores, "photos $a_$: a model")
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
def test_names_of_files_need_not_be_text(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    make_folder(folder)
    broken = os.fsdecode(b"\xfe.png")
    (folder / "images" / broken).write_bytes((folder / "images/0.png").read_bytes())
    (folder / "labels" / broken).write_bytes(b"no picture")
    report = evaluate_segmenter(ByColour(), open_dataset(folder), OFF, tmp_path / "out")
    assert len(report.failures) == 1
    assert "# caf\ufffd" in (tmp_path / "out/scores.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "out/scores.json").read_text())["images"] == 6


def test_the_note_on_linear_probes_counts_the_images_that_could_be_read(tmp_path: Path) -> None:
    make_folder(tmp_path / "set")
    (tmp_path / "set/labels/0.png").write_bytes(b"no picture")
    settings = EvaluationSettings(crf="off")
    said = "The linear probes were trained with labels on 2 of these images, every other one, and scored on the other 3."
    assert said in evaluate(tmp_path, settings=settings).notes
    for number in (0, 2, 4):  # those to train on
        Image.fromarray(np.full((48, 64), 255, np.uint8)).save(tmp_path / f"set/labels/{number}.png")
    assert "No linear probe: no labelled pixel to train on." in evaluate(tmp_path, settings=settings).notes


class CutOff(Exception):
    """Stands for a power cut."""


@dataclass
class Interrupted(ByColour):
    """Fails at the n-th image."""

    at: int = 0

    def encode(self, image: npt.NDArray[np.uint8], *, flip: bool = False, resolution: int | None = None, window: int | None = None) -> Encoded:
        if len(self.calls) == self.at:
            raise CutOff
        return super().encode(image, flip=flip, resolution=resolution, window=window)


@pytest.mark.parametrize(("at", "left"), [(0, 8), (2, 7), (4, 5), (7, 1)])
def test_evaluation_goes_on_where_it_was_cut_off_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, left: int) -> None:
    """Cut off in the first chunk (of two images, one of them broken), where the probes are trained, and where they are scored."""
    monkeypatch.setattr("stego_app.evaluation.evaluate.CHUNK", 2)
    make_folder(tmp_path / "set", 9)
    (tmp_path / "set/images/2.png").write_bytes(b"no picture")
    settings = EvaluationSettings(crf="off")
    whole = evaluate(tmp_path, settings=settings).as_dict()
    with pytest.raises(CutOff):
        evaluate(tmp_path, Interrupted(at=at), settings)
    again = ByColour()
    assert evaluate(tmp_path, again, settings).as_dict() == whole
    assert len(again.calls) == left
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["confusion.png", "scores.json", "scores.md"]


def test_what_was_saved_for_other_settings_or_damaged_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stego_app.evaluation.evaluate.CHUNK", 2)
    make_folder(tmp_path / "set", 6)
    for spoil in (False, True):
        with pytest.raises(CutOff):
            evaluate(tmp_path, Interrupted(at=4), OFF)
        saved = tmp_path / "out/.evaluation.npz"
        if spoil:
            saved.write_bytes(saved.read_bytes()[:200])
        again = ByColour()
        evaluate(tmp_path, again, OFF if spoil else EvaluationSettings(crf="off", linear_probe=False, flip=True))
        assert len(again.calls) == 6


@pytest.mark.parametrize("changed", ["labels", "images"])
def test_what_was_counted_of_other_files_is_not_used(changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stego_app.evaluation.evaluate.CHUNK", 2)
    make_folder(tmp_path / "set", 6)
    with pytest.raises(CutOff):
        evaluate(tmp_path, Interrupted(at=4), OFF)
    for file in sorted((tmp_path / "set" / changed).iterdir())[:1]:
        Image.fromarray(np.zeros_like(np.asarray(Image.open(file)))).save(file)
    again = ByColour()
    mended = evaluate(tmp_path, again, OFF).as_dict()
    assert len(again.calls) == 6
    assert mended == evaluate(tmp_path, settings=OFF).as_dict()


def test_errors_are_predicted_where_the_doubted_cluster_is_the_wrong_one(tmp_path: Path) -> None:
    make_folder(tmp_path / "set", values=(0, 1, 2))
    for sample in (tmp_path / "set" / "labels").iterdir():  # the third colour is labelled as the first, or as the second
        label = np.asarray(Image.open(sample)).copy()
        label[label == 2] = np.indices(label.shape).sum(0)[label == 2] % 2
        Image.fromarray(label).save(sample)
    report = evaluate(tmp_path)
    found = report.errors["hungarian"]
    assert found.auroc is not None
    assert found.auroc > 0.95
    assert dict(found.coverage)[0.5] > dict(found.coverage)[1.0] + 20
    assert dict(found.coverage)[1.0] == pytest.approx(report.scores["hungarian"].accuracy)
    written = json.loads((tmp_path / "out" / "scores.json").read_text())["error_prediction"]["hungarian"]
    assert written["auroc"] == pytest.approx(found.auroc)
    assert "AUROC of errors" in (tmp_path / "out" / "scores.md").read_text()
    doubted = evaluate(tmp_path, ByColour(doubted=0)).errors["hungarian"].auroc
    assert doubted is not None
    assert doubted < 0.5


def test_a_segmenter_that_cannot_tell_confidence_is_scored_with_a_note(tmp_path: Path) -> None:
    make_folder(tmp_path / "set", 2)
    report = evaluate(tmp_path, ByColour(has_confidence=False))
    assert not report.errors
    assert any("table of agreement" in note for note in report.notes)
    assert "AUROC" not in report.as_markdown()
    assert report.scores["hungarian"].accuracy == evaluate(tmp_path).scores["hungarian"].accuracy
