"""``stego label`` itself: streams, dry run, watching, lists, and requests that make no sense."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_label_folder import BLUE, RED, ColourSegmenter, halves
from typer.testing import CliRunner, Result

from models.errors import StegoError
from stego_app.cli import app
from stego_app.labelling import watch as watch_module
from stego_app.labelling.settings import LabelSettings


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("stego_app.commands.label._load", lambda *_: ColourSegmenter())
    monkeypatch.chdir(tmp_path)
    halves(tmp_path / "photos" / "a.png", RED, BLUE)
    halves(tmp_path / "photos" / "deep" / "b.jpg", BLUE, BLUE)
    return tmp_path / "photos"


def label(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(app, ["label", "--no-crf", "--jobs", "1", *arguments], input=stdin)


def said(result: Result) -> str:
    return result.output + str(result.exception or "")


def test_one_image_from_stdin_to_stdout(photos: Path) -> None:
    data = (photos / "a.png").read_bytes()
    result = label("-", "-", stdin=data)
    assert result.exit_code == 0, said(result)
    with Image.open(io.BytesIO(result.stdout_bytes)) as image:
        assert (image.mode, image.size) == ("P", (64, 48))
        assert set(np.unique(np.asarray(image))) == {0, 2}
    assert label("photos/a.png", "-").stdout_bytes == result.stdout_bytes
    assert json.loads(label("-", "-", "--format", "coco", stdin=data).stdout_bytes)["images"][0]["width"] == 64
    with Image.open(io.BytesIO(label("-", "-", "-f", "overlay", stdin=data).stdout_bytes)) as image:
        assert image.format == "JPEG"
    assert label("-", "-", "-f", "labelme", stdin=data).stdout_bytes.startswith(b"{")
    assert sorted(path.name for path in photos.parent.iterdir()) == ["photos"]


def test_an_image_labelled_to_stdout_keeps_its_name(photos: Path) -> None:
    assert json.loads(label(str(photos / "a.png"), "-", "-f", "coco").stdout_bytes)["images"][0]["file_name"] == "a.png"
    assert json.loads(label(str(photos / "a.png"), "-", "-f", "labelme").stdout_bytes)["imagePath"] == "a.png"
    with zipfile.ZipFile(io.BytesIO(label(str(photos / "a.png"), "-", "-f", "voc").stdout_bytes)) as archive:
        assert "SegmentationClass/a.png" in archive.namelist()
    for stem in ("classes", "data", "labelmerc"):  # what some formats call files of their own
        shutil.copy(str(photos / "a.png"), f"{stem}.png")
        assert label(f"{stem}.png", "-").stdout_bytes == label(str(photos / "a.png"), "-").stdout_bytes
        assert label(f"{stem}.png", "-", "-f", "yolo").stdout_bytes[:2] == b"0 "
        assert label(f"{stem}.png", "-", "-f", "labelme").stdout_bytes[:1] == b"{"
    Path("bad.png").write_bytes(b"no image")
    assert "bad.png: not an image" in said(label("bad.png", "-"))


@pytest.mark.parametrize(
    ("arguments", "stdin", "expected"),
    [
        (["-", "-"], b"no image", "stdin: not an image"),
        (["-", "-"], b"", "stdin: the file is empty"),
        (["-", "out"], b"", "- stands for one image and its labels"),
        (["photos", "photos/a.png", "-"], b"", "- stands for one image"),
        (["-", "-", "-f", "coco", "-f", "voc"], b"", "stdout takes one format"),
        (["-", "-", "--watch"], b"", "do not go together"),
        (["photos", "out", "--watch", "--dry-run"], b"", "do not go together"),
        (["photos", "out", "--tower", "bridge"], b"", "--tower belongs to --prompt"),
        (["gone.png", "-"], b"", "gone.png: cannot be read"),
        (["photos"], b"", "only one path given; expected input and output"),
        (["photos", "out", "-f", "pdf"], b"", "format 'pdf': unknown"),
        (["photos/a.png", "out", "--watch"], b"", "photos/a.png: no such folder; expected a folder to watch"),
        (["--list", "gone.txt", "out"], b"", "gone.txt: the list cannot be read"),
    ],
)
def test_requests_that_make_no_sense_are_one_clear_line(photos: Path, arguments: list[str], stdin: bytes, expected: str) -> None:
    result = label(*arguments, stdin=stdin)
    assert result.exit_code != 0
    assert expected in said(result)
    assert not (photos.parent / "out").exists()


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(photos: Path) -> None:
    result = label("photos", "out", "--dry-run", "-f", "coco")
    assert "photos/deep/b.jpg -> out/labels/deep/b.png" in result.output
    assert "would label 2 of 2 images; then write out/coco.json; nothing was written" in result.output
    assert not (photos.parent / "out").exists()
    assert label("photos", "out").exit_code == 0
    halves(photos / "c.png", RED, RED)
    before = {path: path.stat().st_mtime_ns for path in (photos.parent / "out").rglob("*")}
    assert "would label 1 of 3 images; 2 were done before; nothing was written" in label("photos", "out", "--dry-run").output
    assert {path: path.stat().st_mtime_ns for path in (photos.parent / "out").rglob("*")} == before


def test_fit_needs_files_and_can_be_planned(photos: Path) -> None:
    assert "would find classes in 2 images and label them into out/labels" in label("photos", "out", "--fit", "--dry-run").output
    import zipfile

    with zipfile.ZipFile(photos.parent / "x.zip", "w") as archive:
        archive.write(photos / "a.png", "a.png")
    assert "needs them unpacked; expected files, not a zip" in said(label("x.zip", "out", "--fit"))


def test_lists_patterns_and_formats_from_the_command_line(photos: Path) -> None:
    (photos.parent / "list.txt").write_text("photos/deep/b.jpg\n")
    result = label("--list", "list.txt", "photos/*.png", "out", "-f", "voc", "-f", "overlay", "-f", "png")
    assert result.exit_code == 0, said(result)
    made = sorted(path.relative_to("out").as_posix() for path in Path("out").rglob("*") if path.suffix in (".png", ".zip", ".jpg"))
    assert made == ["labels/a.png", "labels/deep/b.png", "overlays/a.jpg", "overlays/deep/b.jpg", "voc.zip"]


def test_watching_takes_what_is_whole_and_only_once(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    summaries: list[str] = []
    segmenter = ColourSegmenter()

    def step(_seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            (photos / "new.png").write_bytes((photos / "a.png").read_bytes()[:100])  # half of it
        elif looks == 3:
            (photos / "new.png").write_bytes((photos / "a.png").read_bytes())
        elif looks == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(watch_module.time, "sleep", step)
    settings = LabelSettings(crf=False, jobs=1, formats=("coco",))
    with pytest.raises(KeyboardInterrupt):
        watch_module.watch([photos], Path("out"), segmenter, settings, lambda summary: summaries.append(str(summary)))
    assert [text.partition(" in ")[0] for text in summaries] == ["labelled 2 of 2 images", "labelled 1 of 3 images"]
    assert sum(segmenter.batch_sizes) == 3
    assert len(json.loads(Path("out/coco.json").read_text())["images"]) == 3


def test_an_empty_folder_is_watched_and_a_missing_one_is_not(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos.parent / "empty").mkdir()
    monkeypatch.setattr(watch_module.time, "sleep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        watch_module.watch(["empty"], Path("out"), ColourSegmenter(), LabelSettings(), lambda _: None)
    with pytest.raises(StegoError, match="gone: no such folder"):
        watch_module.watch(["gone"], Path("out"), ColourSegmenter(), LabelSettings(), lambda _: None)


def test_an_empty_folder_does_not_keep_the_others_waiting(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos.parent / "later").mkdir()
    looks = 0
    summaries: list[str] = []

    def step(_seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            (photos.parent / "later" / "c.png").write_bytes((photos / "a.png").read_bytes())
        elif looks == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(watch_module.time, "sleep", step)
    with pytest.raises(KeyboardInterrupt):
        watch_module.watch(
            ["photos", "later"], Path("out"), ColourSegmenter(), LabelSettings(crf=False, jobs=1), lambda summary: summaries.append(str(summary))
        )
    assert [text.partition(" in ")[0] for text in summaries] == ["labelled 2 of 2 images", "labelled 1 of 3 images"]
    made = sorted(path.relative_to("out").as_posix() for path in Path("out").rglob("*.png"))
    assert made == ["labels/later/c.png", "labels/photos/a.png", "labels/photos/deep/b.png"]


WATCH = """
import sys
sys.path.insert(0, sys.argv[1])
from test_label_folder import ColourSegmenter
import stego_app.commands.label as module
from stego_app.cli import main

if __name__ == "__main__":
    sys.modules["stego_app.commands.label"]._load = lambda *_: ColourSegmenter()
    sys.argv = ["stego", "label", "photos", "out", "--watch", "--no-crf", "--jobs", "1"]
    main()
"""


def test_ctrl_c_ends_watching_cleanly(photos: Path) -> None:
    here = Path(__file__).resolve()
    script = photos.parent / "run.py"
    script.write_text(WATCH)
    environment = {**os.environ, "PYTHONPATH": str(here.parents[3])}
    command = [sys.executable, str(script), str(here.parent)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, "stopped watching; what was done is in out" in err) == (0, True), err
    assert "labelled 2 of 2 images" in said
    assert "Traceback" not in err
