"""Runs of several processes into one folder: one of the whole at a time, or parts beside each other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_label_folder import BLUE, PLAIN, RED, ColourSegmenter, halves

from models.errors import StegoError
from stego_app.labelling import label_folder, label_images, watch
from stego_app.labelling.claim import BusyError, claimed
from stego_app.labelling.names import plan_folder
from stego_app.labelling.summary import LabelSummary
from stego_app.shard import Shard

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks on Windows")

HOLDS = """
import sys
from pathlib import Path
from stego_app.labelling.claim import claimed
from stego_app.shard import Shard
with claimed(Path(sys.argv[1]), Shard.parse(sys.argv[2]) if sys.argv[2] else None):
    print("mine", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another(out: Path, part: str = "") -> Iterator[subprocess.Popen[str]]:
    """Another process that labels into ``out``, or a part."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(out), part], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    try:
        yield process
    finally:
        process.communicate(timeout=60)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(4):
        halves(tmp_path / "photos" / f"{number}.png", RED, BLUE)
    return tmp_path / "photos"


def test_a_second_run_is_refused_and_names_the_first(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with another(out) as first:
        with pytest.raises(BusyError, match=rf"out: process {first.pid} on \S+ is labelling into it; wait for it to end, or choose another folder$"):
            label_folder(photos, out, ColourSegmenter(), PLAIN)
        with pytest.raises(BusyError, match=f"process {first.pid} "):
            label_images(plan_folder(photos, out), out, ColourSegmenter(), PLAIN, shard=Shard(1, 2))
        assert [path.name for path in out.iterdir()] == [".labelling.lock"]
    assert label_folder(photos, out, ColourSegmenter(), PLAIN).labelled == 4
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_parts_go_beside_each_other_and_a_run_of_the_whole_waits_for_its_turn(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with another(out, "1/2") as first:
        assert label_images(plan_folder(photos, out), out, ColourSegmenter(), PLAIN, shard=Shard(2, 2)).failed == 0
        for shard in (Shard(1, 2), None):
            with pytest.raises(BusyError, match=rf"process {first.pid} on \S+ \(--shard 1/2\) is labelling into it"):
                label_images(plan_folder(photos, out), out, ColourSegmenter(), PLAIN, shard=shard)
    summary = label_folder(photos, out, ColourSegmenter(), PLAIN)
    assert summary.labelled + summary.skipped == 4
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("part", ["", "1/2"])
def test_a_process_that_is_killed_keeps_nobody_out(part: str, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with another(out, part) as first:
        first.send_signal(signal.SIGKILL)
        first.wait(60)
        if part:
            label_images(plan_folder(photos, out), out, ColourSegmenter(), PLAIN, shard=Shard.parse(part))
        assert label_folder(photos, out, ColourSegmenter(), PLAIN).failed == 0
    assert not [path for path in out.iterdir() if path.name == ".labelling.lock"]


def test_a_run_that_fails_gives_its_claim_back(tmp_path: Path) -> None:
    with pytest.raises(KeyError), claimed(tmp_path / "out", None):
        raise KeyError
    with claimed(tmp_path / "out", None):
        pass
    assert os.listdir(tmp_path / "out") == []


def test_a_watcher_lets_another_run_end_first(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, looks, said = tmp_path / "out", [], list[LabelSummary]()
    with another(out) as first:

        def sleep(_seconds: float) -> None:
            looks.append(len(said))
            if len(looks) == 3:
                first.communicate()
            if said:
                raise KeyboardInterrupt

        monkeypatch.setattr(watch.time, "sleep", sleep)
        with pytest.raises(KeyboardInterrupt):
            watch.watch([photos], out, ColourSegmenter(), PLAIN, said.append)
    assert looks == [0, 0, 0, 1]
    assert said[0].labelled == 4


def test_a_folder_that_cannot_be_made_is_named(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StegoError, match=r"file/out/\.labelling\.lock: cannot be written"):
        label_folder(photos, tmp_path / "file" / "out", ColourSegmenter(), PLAIN)
