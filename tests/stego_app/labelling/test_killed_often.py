"""kill -9 of ``stego label`` at twenty random moments: nothing lost, nothing done twice, no half-written file."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from test_label_folder import BLUE, GREEN, RED, halves

from stego_app.atomic import PART
from stego_app.formats.registry import find_format

# The segmenter with which processes start in a moment; an image takes 50 ms.
_LIGHT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "api" / "light"), "OMP_NUM_THREADS": "1"}
_FORMATS = ("voc", "coco", "cvat", "labelme", "yolo", "label-studio")


def command(photos: Path, out: Path) -> list[str]:
    formats = [part for name in _FORMATS for part in ("--format", name)]
    return [sys.executable, "-m", "stego_app.cli", "label", str(photos), str(out), "--overlays", "--jobs", "2", "--device", "cpu", *formats]


def whole(out: Path) -> dict[str, bytes]:
    """Every file of a finished run but the record of its order; what is in zips, without their times."""
    found: dict[str, bytes] = {}
    for path in out.rglob("*"):
        name = path.relative_to(out).as_posix()
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                found.update({f"{name}/{entry}": archive.read(entry) for entry in archive.namelist()})
        elif path.is_file() and path.name not in ("manifest.jsonl", "formats.json"):
            found[name] = path.read_bytes()
    return found


def done(out: Path) -> dict[str, int]:
    """How many images the manifest says are done, each with the time at which its label map was written."""
    manifest = out / "manifest.jsonl"
    if not manifest.exists():
        return {}
    entries: list[dict[str, str]] = []
    for line in manifest.read_text().splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # the last one, of a process that died at it
    return {entry["label"]: (out / entry["label"]).stat().st_mtime_ns for entry in entries if entry["status"] == "done"}


def run_with_kills(tmp_path: Path, kills: int, images: int, seed: int) -> None:
    photos, out, expected = tmp_path / "photos", tmp_path / "out", tmp_path / "expected"
    for number in range(images):
        halves(photos / ("more" if number % 2 else ".") / f"{number:03}.png", (RED, GREEN, BLUE)[number % 3], (BLUE, RED)[number % 2])
    subprocess.run(command(photos, expected), check=True, env=_LIGHT, capture_output=True, timeout=600)

    moments = random.Random(seed)
    log = tmp_path / "log"
    killed = 0
    before: dict[str, int] = {}
    while killed < kills:
        left = kills - killed
        with log.open("ab") as target, subprocess.Popen(command(photos, out), env=_LIGHT, stdout=target, stderr=target) as process:
            end = time.monotonic() + 200
            # Now and then before anything is done; else somewhere in its part of what is left, while images are written.
            aim = len(before) + (0 if moments.random() < 0.2 else moments.randint(1, max(1, (images - len(before)) // left)))
            while len(done(out)) < aim and process.poll() is None:
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.02)
            time.sleep(moments.uniform(0, 0.3) if aim > len(before) else moments.uniform(0, 1.5))
            process.kill()
        assert process.returncode == -9, f"it ended by itself after {killed} kills: {log.read_text()[-500:]}"
        killed += 1
        now = done(out)
        assert {label: now[label] for label in before} == before  # nothing is done twice, nothing is forgotten
        for label in now:
            with Image.open(out / label) as image:
                image.load()
        before = now
    assert 0 < len(before) < images

    ended = subprocess.run(command(photos, out), env=_LIGHT, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr
    assert f"labelled {images - len(before)} of {images} images" in ended.stdout
    assert {label: done(out)[label] for label in before} == before
    assert [path for path in out.rglob("*") if PART in path.name] == []
    assert whole(out) == whole(expected)
    assert {find_format(name).product for name in _FORMATS} <= {path.name for path in out.iterdir()}
    entries = [json.loads(line)["image"] for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert len(entries) == len(set(entries)) == images


@pytest.mark.timeout(600)
def test_killed_at_two_random_moments(tmp_path: Path) -> None:
    run_with_kills(tmp_path, 2, 40, 1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_twenty_random_moments(tmp_path: Path) -> None:
    run_with_kills(tmp_path, 20, 400, 2)
