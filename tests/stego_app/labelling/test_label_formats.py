"""Formats written by batch labelling: in one pass, from what is on disk, the same bytes whatever happened on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_label_folder import BLUE, GREEN, RED, ColourSegmenter, halves

from models.errors import StegoError
from stego_app.formats.registry import find_format, formats
from stego_app.labelling import LabelSettings, label_folder
from stego_app.labelling import export as export_module

ALL = tuple(formats())
ARCHIVES = ("voc", "cvat-mask", "cvat", "coco", "coco-instances", "label-studio")


def settings(*names: str, **others: object) -> LabelSettings:
    return LabelSettings(crf=False, jobs=1, formats=names, **others)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    halves(root / "a.png", RED, BLUE)
    halves(root / "deep" / "b.jpg", GREEN, BLUE)
    halves(root / "deep" / "b.png", GREEN, RED)
    return root


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_all_formats_in_one_pass_hold_the_label_maps(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = label_folder(photos, out, ColourSegmenter(), settings(*ALL, abstain=0.4))
    assert len(summary.written) == len(ALL)
    assert str(out / "coco.json") in str(summary)
    labels = {key: pixels(out / "labels" / f"{key}.png") for key in ("a", "deep/b.jpg", "deep/b.png")}
    assert (labels["a"] == 255).any()
    for name in (name for name in ALL if formats()[name].read is not None):
        found = (find_format(name).read or pytest.fail)(out / find_format(name).product)
        back = {image: item.labels for image, item in zip(found.names, found.maps, strict=True)}
        assert len(back) == 3
        assert np.array_equal(back[next(image for image in back if image.startswith("a."))], labels["a"]), name
    assert pixels(out / "overlays" / "deep" / "b.jpg.jpg").shape == (48, 64, 3)


def test_a_second_run_leaves_formats_as_they_are_and_mends_what_is_missing(photos: Path, tmp_path: Path) -> None:
    out, asked = tmp_path / "out", settings("coco", "yolo")
    label_folder(photos, out, ColourSegmenter(), asked)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.name in ("coco.json", "data.yaml", "a.txt")}
    assert len(before) == 3
    assert label_folder(photos, out, ColourSegmenter(), asked).written == ()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    (out / "yolo" / "labels" / "a.txt").unlink()
    assert label_folder(photos, out, ColourSegmenter(), asked).written == (out / "yolo",)
    assert label_folder(photos, out, ColourSegmenter(), settings("coco", "voc")).written == (out / "voc.zip",)
    halves(photos / "new.png", RED, RED)
    assert label_folder(photos, out, ColourSegmenter(), asked).written == (out / "coco.json", out / "yolo")
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 4


def test_failed_images_are_in_no_format(photos: Path, tmp_path: Path) -> None:
    (photos / "bad.png").write_text("no image")
    summary = label_folder(photos, tmp_path / "out", ColourSegmenter(), settings("coco"))
    assert summary.failed == 1
    assert [image["file_name"] for image in json.loads((tmp_path / "out" / "coco.json").read_text())["images"]] == ["a.png", "deep/b.jpg", "deep/b.png"]


def test_worker_processes_write_the_same(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    label_folder(photos, tmp_path / "here", ColourSegmenter(), settings(*ARCHIVES))
    monkeypatch.setattr(export_module, "_FEW", 0)
    label_folder(photos, tmp_path / "there", ColourSegmenter(), settings(*ARCHIVES))
    for name in ARCHIVES:
        product = find_format(name).product
        assert (tmp_path / "here" / product).read_bytes() == (tmp_path / "there" / product).read_bytes()


def test_an_unknown_or_missing_format_is_said_before_anything_is_done(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StegoError, match="format 'pdf': unknown"):
        label_folder(photos, tmp_path / "out", ColourSegmenter(), settings("pdf"))
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(StegoError, match=r"need rasterio, which is not installed; expected: pip install 'stego-app\[geo\]'"):
        label_folder(photos, tmp_path / "out", ColourSegmenter(), settings("geotiff"))
    assert not (tmp_path / "out").exists()


def test_a_damaged_label_map_stops_with_its_name(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    label_folder(photos, out, ColourSegmenter(), settings())
    (out / "labels" / "a.png").write_bytes(b"damaged")
    with pytest.raises(StegoError, match=r"labels/a.png: not an image"):
        label_folder(photos, out, ColourSegmenter(), settings("coco"))
    assert not (out / "coco.json").exists()


SLOW = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_label_folder import ColourSegmenter
from stego_app.labelling import LabelSettings, export, label_folder
from stego_app.formats import coco

real = export.encode

def slow(*arguments):
    time.sleep(0.1)
    return real(*arguments)

if __name__ == "__main__":
    export._FEW, export.encode = 1000, slow
    label_folder(Path(sys.argv[1]), Path(sys.argv[2]), ColourSegmenter(), LabelSettings(crf=False, jobs=1, formats=tuple(sys.argv[4:])))
"""


def test_killed_while_writing_formats_the_next_run_leaves_the_same_bytes(photos: Path, tmp_path: Path) -> None:
    for number in range(20):
        halves(photos / f"many{number:02}.png", RED, BLUE)
    label_folder(photos, tmp_path / "whole", ColourSegmenter(), settings(*ARCHIVES))
    out = tmp_path / "out"
    script = tmp_path / "run.py"
    script.write_text(SLOW)
    here = Path(__file__).resolve()
    command = [sys.executable, str(script), str(photos), str(out), str(here.parent), *ARCHIVES]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(here.parents[3])}, start_new_session=True) as process:
        end = time.monotonic() + 120
        while not (out / ".voc.zip.stego-part").exists() and time.monotonic() < end and process.poll() is None:
            time.sleep(0.02)
        time.sleep(0.5)
        process.send_signal(signal.SIGKILL)
    assert (out / ".voc.zip.stego-part").exists()
    assert not (out / "voc.zip").exists()
    summary = label_folder(photos, out, ColourSegmenter(), settings(*ARCHIVES))
    assert (summary.labelled, summary.skipped) == (0, 23)
    for name in ARCHIVES:
        product = find_format(name).product
        assert (out / product).read_bytes() == (tmp_path / "whole" / product).read_bytes()
    assert list(out.rglob("*part*")) == []


def per_image(out: Path) -> dict[str, list[str]]:
    """Files of the formats that keep one or two an image."""
    return {
        name: sorted(
            path.relative_to(out / name).as_posix() for path in (out / name).rglob("*") if path.is_file() and path.name not in ("data.yaml", "labelmerc")
        )
        for name in ("yolo", "labelme", "geotiff")
        if (out / name).is_dir()
    }


def test_images_that_are_gone_or_renamed_leave_nothing_in_the_folders_of_formats(photos: Path, tmp_path: Path) -> None:
    out, asked = tmp_path / "out", settings("yolo", "labelme", "coco")
    label_folder(photos, out, ColourSegmenter(), asked)
    (out / "yolo" / "notes.txt").write_text("mine")
    (photos / "deep" / "b.jpg").unlink()
    (photos / "a.png").rename(photos / "c.png")
    label_folder(photos, out, ColourSegmenter(), asked)
    fresh = tmp_path / "fresh"
    label_folder(photos, fresh, ColourSegmenter(), asked)
    found = per_image(out)
    assert found.pop("yolo") == ["images/c.png", "images/deep/b.png", "labels/c.txt", "labels/deep/b.txt", "notes.txt"]
    assert found["labelme"] == per_image(fresh)["labelme"] == ["c.json", "deep/b.json"]


def test_a_new_neighbour_of_the_same_name_leaves_nothing_of_the_old_one_in_formats(tmp_path: Path) -> None:
    photos, out, asked = tmp_path / "photos", tmp_path / "out", settings("yolo", "labelme")
    halves(photos / "a.jpg", RED, BLUE)
    label_folder(photos, out, ColourSegmenter(), asked)
    halves(photos / "a.png", RED, GREEN)
    label_folder(photos, out, ColourSegmenter(), asked)
    assert per_image(out) == {"yolo": ["images/a.jpg.jpg", "images/a.png.png", "labels/a.jpg.txt", "labels/a.png.txt"], "labelme": ["a.jpg.json", "a.png.json"]}
