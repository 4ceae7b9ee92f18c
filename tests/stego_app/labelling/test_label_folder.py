"""Batch labelling with a small stand-in for the segmenter: files, resume, failures, interruption, full disk."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from models.errors import StegoError
from stego_app.atomic import OutputError
from stego_app.confidence import Trust
from stego_app.labelling import LabelSettings, label_folder
from stego_app.labelling import labeller as labeller_module
from stego_app.labelling.manifest import Manifest


class ColourSegmenter:
    """Three classes by the strongest colour channel, on patches of 8 pixels; green is ignored if asked for."""

    crf_engine = "auto"

    def __init__(self, fingerprint: str = "model-one", refuse: Sequence[tuple[int, int]] = ()) -> None:
        self.fingerprint = fingerprint
        self.refuse = set(refuse)
        self.batch_sizes: list[int] = []

    def class_names(self, classes: int | None = None) -> list[str]:
        if classes is not None and classes > 3:
            raise StegoError(f"classes {classes}: expected 1 to 3")
        return ["red", "green, leafy", "blue"]

    def palette(self, classes: int | None = None) -> npt.NDArray[np.uint8]:
        del classes
        return np.array([(220, 30, 30), (30, 200, 30), (30, 30, 220)], dtype=np.uint8)

    def class_probabilities(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        *,
        classes: int | None = None,
        flip: bool = False,
        resolution: int | None = None,
        window: int | None = None,
    ) -> list[npt.NDArray[np.float32]]:
        del classes, flip, resolution, window
        self.batch_sizes.append(len(images))
        if any(image.shape[:2] in self.refuse for image in images):
            raise RuntimeError("out of\nmemory")
        return [self._one(image) for image in images]

    has_confidence = True

    def class_probabilities_and_trust(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        *,
        classes: int | None = None,
        flip: bool = False,
        resolution: int | None = None,
        window: int | None = None,
    ) -> list[tuple[npt.NDArray[np.float32], Trust]]:
        """Red is told with a confidence of 0.9, green of 0.5, blue of 0.3."""
        maps = self.class_probabilities(images, classes=classes, flip=flip, resolution=resolution, window=window)
        known = np.array([0.9, 0.5, 0.3, 0.0], np.float32)[:, None, None]
        return [(probabilities, np.broadcast_to(known, probabilities.shape).copy()) for probabilities in maps]

    def _one(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        height, width = max(1, image.shape[0] // 8), max(1, image.shape[1] // 8)
        small = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX), dtype=np.float32)
        scores = np.exp(small / 32).transpose(2, 0, 1)
        scores = np.concatenate([scores, np.full_like(scores[:1], 0.5)])
        return (scores / scores.sum(axis=0)).astype(np.float32)


def halves(path: Path, left: tuple[int, int, int], right: tuple[int, int, int], size: tuple[int, int] = (48, 64)) -> None:
    pixels = np.empty((*size, 3), dtype=np.uint8)
    pixels[:, : size[1] // 2], pixels[:, size[1] // 2 :] = left, right
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


RED, GREEN, BLUE = (250, 10, 10), (10, 250, 10), (10, 10, 250)
PLAIN = LabelSettings(crf=False, jobs=1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    halves(root / "a.png", RED, BLUE)
    halves(root / "deep" / "er" / "b.png", GREEN, BLUE, (40, 80))
    halves(root / "c.bmp", BLUE, RED, (64, 48))
    return root


def test_labels_every_image_into_mirrored_folders(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told: list[tuple[str, int, int]] = []
    summary = label_folder(photos, out, ColourSegmenter(), LabelSettings(jobs=2, overlays=True), lambda *step: told.append(step))
    assert (summary.labelled, summary.skipped, summary.failed, summary.total) == (3, 0, 0, 3)
    assert told == [("labelling", n, 3) for n in (1, 2, 3)]
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == [
        "classes.csv",
        "classes.json",
        "labels/a.png",
        "labels/c.png",
        "labels/deep/er/b.png",
        "manifest.jsonl",
        "overlays/a.jpg",
        "overlays/c.jpg",
        "overlays/deep/er/b.jpg",
    ]
    with Image.open(out / "labels" / "deep" / "er" / "b.png") as image:
        assert image.mode == "P"
        assert image.size == (80, 40)
        labels = np.asarray(image)
        assert image.getpalette()[:9] == [220, 30, 30, 30, 200, 30, 30, 30, 220]
    assert (labels[:, :36] == 1).all()
    assert (labels[:, 44:] == 2).all()
    with Image.open(out / "overlays" / "a.jpg") as overlay:
        assert overlay.size == (64, 48)


def test_worker_processes_give_the_same_files_as_this_process(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LabelSettings(jobs=2, overlays=True)
    label_folder(photos, tmp_path / "here", ColourSegmenter(), settings)
    monkeypatch.setattr(labeller_module, "FEW", 0)
    assert label_folder(photos, tmp_path / "there", ColourSegmenter(), settings).labelled == 3
    for path in (tmp_path / "here").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "there" / path.relative_to(tmp_path / "here")).read_bytes()


def test_tables_of_classes_hold_shares_of_all_pixels(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    label_folder(photos, out, ColourSegmenter(), PLAIN)
    table = json.loads((out / "classes.json").read_text())
    counts = np.bincount(np.concatenate([np.asarray(Image.open(path)).ravel() for path in (out / "labels").rglob("*.png")]), minlength=256)
    assert [entry["pixels"] for entry in table["classes"]] == counts[:3].tolist()
    assert sum(entry["share"] for entry in table["classes"]) + table["ignored"]["share"] == pytest.approx(1)
    assert table["classes"][1] == {
        "id": 1,
        "name": "green, leafy",
        "color": "#1ec81e",
        "pixels": int(counts[1]),
        "share": counts[1] / counts.sum(),
        "images": 1,
    }
    with (out / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["red", "green, leafy", "blue"]
    assert float(rows[0]["share"]) == pytest.approx(table["classes"][0]["share"], abs=1e-6)


def test_a_second_run_does_nothing_and_says_so(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    label_folder(photos, out, ColourSegmenter(), PLAIN)
    before = {path: path.stat().st_mtime_ns for path in (out / "labels").rglob("*.png")}
    classes = (out / "classes.json").read_bytes()
    segmenter = ColourSegmenter()
    summary = label_folder(photos, out, segmenter, PLAIN)
    assert (summary.labelled, summary.skipped) == (0, 3)
    assert "3 were done before" in str(summary)
    assert segmenter.batch_sizes == []
    assert {path: path.stat().st_mtime_ns for path in (out / "labels").rglob("*.png")} == before
    assert (out / "classes.json").read_bytes() == classes


def test_only_what_changed_is_done_again(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    label_folder(photos, out, ColourSegmenter(), PLAIN)
    halves(photos / "a.png", GREEN, GREEN)
    (out / "labels" / "c.png").unlink()
    halves(photos / "new.png", RED, RED)
    summary = label_folder(photos, out, ColourSegmenter(), PLAIN)
    assert (summary.labelled, summary.skipped) == (3, 1)
    assert (np.asarray(Image.open(out / "labels" / "a.png")) == 1).all()


@pytest.mark.parametrize(
    "change",
    [
        {"segmenter": ColourSegmenter("model-two")},
        {"settings": LabelSettings(crf=False, jobs=1, flip=True)},
        {"settings": LabelSettings(crf=True, jobs=1)},
        {"settings": LabelSettings(crf=False, jobs=1, classes=3)},
        {"settings": LabelSettings(crf=False, jobs=1, overlays=True)},
    ],
)
def test_another_model_or_settings_do_everything_again(photos: Path, tmp_path: Path, change: dict[str, object]) -> None:
    out = tmp_path / "out"
    label_folder(photos, out, ColourSegmenter(), PLAIN)
    segmenter, settings = change.get("segmenter", ColourSegmenter()), change.get("settings", PLAIN)
    assert label_folder(photos, out, segmenter, settings).labelled == 3


def test_settings_that_only_change_the_speed_do_not(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    label_folder(photos, out, ColourSegmenter(), PLAIN)
    assert label_folder(photos, out, ColourSegmenter(), LabelSettings(crf=False, jobs=2, batch_size=2)).labelled == 0


def test_bad_images_are_listed_and_the_others_done(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (photos / "empty.jpg").touch()
    (photos / "text.png").write_text("no image")
    (photos / "cut.bmp").write_bytes((photos / "c.bmp").read_bytes()[:500])
    summary = label_folder(photos, out, ColourSegmenter(), PLAIN)
    assert (summary.labelled, summary.failed) == (3, 3)
    assert "3 failed" in str(summary)
    assert "failures.csv" in str(summary)
    with (out / "failures.csv").open(newline="") as file:
        rows = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert sorted(rows) == ["cut.bmp", "empty.jpg", "text.png"]
    assert all(reason and "\n" not in reason for reason in rows.values())
    assert not (out / "labels" / "empty.png").exists()

    for name in rows:
        (photos / name).unlink()
    assert label_folder(photos, out, ColourSegmenter(), PLAIN).failed == 0
    assert not (out / "failures.csv").exists()


def test_failed_images_are_tried_again(photos: Path, tmp_path: Path) -> None:
    (photos / "empty.jpg").touch()
    for _ in range(2):
        summary = label_folder(photos, tmp_path / "out", ColourSegmenter(), PLAIN)
        assert summary.failures[0][0] == "empty.jpg"
    assert (summary.labelled, summary.skipped) == (0, 3)


def test_a_batch_that_fails_is_tried_one_by_one(photos: Path, tmp_path: Path) -> None:
    segmenter = ColourSegmenter(refuse=[(64, 48)])
    summary = label_folder(photos, tmp_path / "out", segmenter, LabelSettings(crf=False, jobs=1, batch_size=8))
    assert summary.failures == (("c.bmp", "RuntimeError: out of memory"),)
    assert summary.labelled == 2
    assert segmenter.batch_sizes == [3, 1, 1, 1]


def test_equal_stems_get_names_of_their_own(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    halves(photos / "a.png", RED, RED)
    label_folder(photos, out, ColourSegmenter(), PLAIN)
    assert (out / "labels" / "a.png").exists()
    halves(photos / "a.bmp", BLUE, BLUE)
    summary = label_folder(photos, out, ColourSegmenter(), PLAIN)
    assert summary.labelled == 2
    assert sorted(path.name for path in (out / "labels").iterdir()) == ["a.bmp.png", "a.png.png"]
    assert (np.asarray(Image.open(out / "labels" / "a.bmp.png")) == 2).all()
    assert (np.asarray(Image.open(out / "labels" / "a.png.png")) == 0).all()
    assert label_folder(photos, out, ColourSegmenter(), PLAIN).labelled == 0


def test_a_new_neighbour_of_the_same_name_leaves_nothing_under_the_old_one(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    halves(photos / "a.png", RED, BLUE)
    options = LabelSettings(crf=False, jobs=1, overlays=True, confidence=True)
    label_folder(photos, out, ColourSegmenter(), options)
    halves(photos / "a.jpg", RED, GREEN)
    label_folder(photos, out, ColourSegmenter(), options)
    kept = {kind: sorted(path.name for path in (out / kind).iterdir()) for kind in ("labels", "overlays", "confidence")}
    maps = ["a.jpg.png", "a.png.png"]
    assert kept == {"labels": maps, "overlays": ["a.jpg.jpg", "a.png.jpg"], "confidence": maps}


def test_one_image_instead_of_a_folder(photos: Path, tmp_path: Path) -> None:
    summary = label_folder(photos / "a.png", tmp_path / "out", ColourSegmenter(), PLAIN)
    assert summary.total == 1
    assert (tmp_path / "out" / "labels" / "a.png").is_file()


def test_output_inside_the_input_is_never_input(photos: Path) -> None:
    out = photos / "results"
    settings = LabelSettings(crf=False, jobs=1, overlays=True)
    assert label_folder(photos, out, ColourSegmenter(), settings).total == 3
    assert label_folder(photos, out, ColourSegmenter(), settings).total == 3


@pytest.mark.parametrize("inside", ["", "labels", "overlays/deep"])
def test_results_may_not_mix_with_the_input(tmp_path: Path, inside: str) -> None:
    source = tmp_path / "out" / inside
    halves(source / "a.png", RED, BLUE)
    with pytest.raises(StegoError, match="expected"):
        label_folder(source, tmp_path / "out", ColourSegmenter(), PLAIN)
    assert not (tmp_path / "out" / "manifest.jsonl").exists()


def test_no_images_and_too_many_classes_are_said_before_anything_is_written(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    out = tmp_path / "out"
    with pytest.raises(StegoError, match="no images"):
        label_folder(tmp_path / "nothing", out, ColourSegmenter(), PLAIN)
    with pytest.raises(StegoError, match="no such"):
        label_folder(tmp_path / "missing", out, ColourSegmenter(), PLAIN)
    with pytest.raises(StegoError, match="expected 1 to 3"):
        label_folder(photos, out, ColourSegmenter(), LabelSettings(classes=9))
    assert not out.exists()


def test_output_that_is_a_file_is_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(StegoError, match="is a file"):
        label_folder(photos, tmp_path / "out", ColourSegmenter(), PLAIN)


def test_full_disk_stops_with_one_line_and_no_half_file(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    for name in ("c.bmp", "deep/er/b.png"):
        (photos / name).unlink()
    whole = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if "labels" in path.parts:
            whole(path, data[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return whole(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="no space left") as caught:
        label_folder(photos, out, ColourSegmenter(), PLAIN)
    assert "\n" not in str(caught.value)
    assert [path for path in (out / "labels").rglob("*") if path.is_file()] == []
    monkeypatch.undo()
    assert label_folder(photos, out, ColourSegmenter(), PLAIN).labelled == 1


def test_full_disk_in_a_worker_process_stops_the_run(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labeller_module, "finish_task", meet_a_full_disk)
    segmenter = ColourSegmenter()
    for number in range(20):
        halves(photos / f"more{number}.png", RED, BLUE)
    with pytest.raises(OutputError, match="no space left"):
        label_folder(photos, tmp_path / "out", segmenter, LabelSettings(crf=False, jobs=1, batch_size=1))
    assert len(segmenter.batch_sizes) < 10


def meet_a_full_disk(task: labeller_module.Task) -> dict[str, int]:
    raise OutputError(f"{task.label}: no space left on the disk")


def test_manifest_survives_a_line_cut_short_and_foreign_lines(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    label_folder(photos, out, ColourSegmenter(), PLAIN)
    manifest = out / "manifest.jsonl"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text(lines[0] + '[1, 2]\n{"image": 5}\nnull\n' + lines[1] + lines[2][:40])
    summary = label_folder(photos, out, ColourSegmenter(), PLAIN)
    assert (summary.labelled, summary.skipped) == (1, 2)
    assert len(manifest.read_text().splitlines()) == 3
    with Manifest(out) as read:
        assert sorted(read.entries) == ["a.png", "c.bmp", "deep/er/b.png"]


@pytest.mark.parametrize("label", ["256", "²", "-1", "red"])
def test_a_line_that_counts_pixels_of_what_is_no_label_is_passed_over(label: str, photos: Path, tmp_path: Path) -> None:
    label_folder(photos, tmp_path / "out", ColourSegmenter(), PLAIN)
    manifest = tmp_path / "out" / "manifest.jsonl"
    first, *others = manifest.read_text().splitlines()
    manifest.write_text("\n".join([json.dumps({**json.loads(first), "pixels": {label: 1}}), *others, ""]))
    assert label_folder(photos, tmp_path / "out", ColourSegmenter(), PLAIN).labelled == 1


def test_unfinished_files_of_a_killed_run_are_removed(photos: Path, tmp_path: Path) -> None:
    left = tmp_path / "out" / "labels" / "deep" / ".123.stego-part"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    label_folder(photos, tmp_path / "out", ColourSegmenter(), PLAIN)
    assert not left.exists()


SLOW_RUN = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_label_folder import ColourSegmenter, PLAIN
from stego_app.confidence import Trust
from stego_app.labelling import LabelSettings, label_folder

class Slow(ColourSegmenter):
    def class_probabilities(self, images, **options):
        time.sleep(0.15)
        return super().class_probabilities(images, **options)

if __name__ == "__main__":
    try:
        label_folder(Path(sys.argv[1]), Path(sys.argv[2]), Slow(), LabelSettings(crf=False, jobs=1, batch_size=1))
    except KeyboardInterrupt:
        print("interrupted")
        sys.exit(130)
"""


def stop_in_the_middle(photos: Path, out: Path, tmp_path: Path, sent: int) -> tuple[int, str]:
    """Label ``photos`` in another process and send it a signal once some are done; its exit code and output."""
    for number in range(40):
        halves(photos / f"many{number:02}.png", RED, BLUE)
    script = tmp_path / "run.py"
    script.write_text(SLOW_RUN)
    here = Path(__file__).resolve()
    command = [sys.executable, str(script), str(photos), str(out), str(here.parent)]
    environment = {**os.environ, "PYTHONPATH": str(here.parents[3])}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True) as process:
        manifest = out / "manifest.jsonl"
        end = time.monotonic() + 60
        while (not manifest.exists() or manifest.read_bytes().count(b"\n") < 4) and time.monotonic() < end:
            time.sleep(0.02)
        # As a terminal does: Ctrl-C goes to the whole group; kill -9 is for the one process.
        if sent == signal.SIGINT:
            os.killpg(process.pid, sent)
        else:
            process.send_signal(sent)
        said = process.communicate(timeout=60)[0]
    return process.returncode, said


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_runs_go_on_where_they_stopped(photos: Path, tmp_path: Path, sent: signal.Signals) -> None:
    out = tmp_path / "out"
    code, said = stop_in_the_middle(photos, out, tmp_path, sent)
    if sent == signal.SIGINT:
        assert (code, said.strip()) == (130, "interrupted")
        assert json.loads((out / "classes.json").read_text())["classes"][0]["pixels"] > 0
        assert [path for path in out.rglob(".*") if path.is_file()] == []
    else:
        assert code == -signal.SIGKILL
    with Manifest(out) as manifest:
        recorded = {entry.label for entry in manifest.entries.values()}
    assert 3 < len(recorded) < 43
    for label in recorded:
        Image.open(out / label).verify()
    before = {label: (out / label).stat().st_mtime_ns for label in recorded}
    summary = label_folder(photos, out, ColourSegmenter(), PLAIN)
    assert (summary.skipped, summary.labelled) == (len(recorded), 43 - len(recorded))
    assert {label: (out / label).stat().st_mtime_ns for label in recorded} == before
    assert len(list((out / "labels").rglob("*.png"))) == 43
