"""Parts of a run by separate processes give together what one run gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_label_folder import BLUE, PLAIN, RED, ColourSegmenter, halves
from typer.testing import CliRunner

from models.errors import StegoError
from stego_app.cli import app
from stego_app.labelling import LabelSummary, label_folder, label_images
from stego_app.labelling.manifest import read_entries
from stego_app.labelling.names import plan_folder
from stego_app.shard import Shard


def part(source: Path, out: Path, number: int, count: int) -> LabelSummary:
    """One part of a run."""
    return label_images(plan_folder(source, out), out, ColourSegmenter(), PLAIN, shard=Shard(number, count))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Nine images in two folders, and a file that is none."""
    for number in range(9):
        halves(tmp_path / "photos" / f"day{number % 2}" / f"{number}.png", RED, BLUE)
    (tmp_path / "photos" / "broken.png").write_bytes(b"no image")
    return tmp_path / "photos"


def files(out: Path) -> dict[str, bytes]:
    """All files of a folder; of the manifest, its lines in the order of names."""
    found = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    found["manifest.jsonl"] = b"\n".join(sorted(set(found["manifest.jsonl"].splitlines())))  # what failed is tried again
    return found


@given(st.lists(st.text(min_size=1), unique=True), st.integers(1, 9))
def test_every_image_is_in_one_part(names: list[str], count: int) -> None:
    for name in names:
        assert sum(Shard(number, count).takes(name) for number in range(1, count + 1)) == 1


def test_parts_are_of_about_one_size() -> None:
    sizes = [sum(Shard(number, 8).takes(f"camera/{image:06}.jpg") for image in range(8000)) for number in range(1, 9)]
    assert min(sizes) > 850
    assert max(sizes) < 1150


def test_parts_and_a_gathering_run_leave_what_one_run_leaves(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summaries = [part(source, out, number, 3) for number in (2, 1, 3)]
    assert sum(summary.labelled for summary in summaries) == 9
    assert sum(summary.failed for summary in summaries) == 1
    assert not (out / "classes.csv").exists()
    assert len(read_entries(out)) == 10
    segmenter = ColourSegmenter()
    gathered = label_folder(source, out, segmenter, PLAIN)
    assert (gathered.labelled, gathered.skipped, gathered.failed) == (0, 9, 1)
    assert segmenter.batch_sizes == []
    assert not list(out.glob("manifest.*-of-*"))
    label_folder(source, tmp_path / "whole", ColourSegmenter(), PLAIN)
    assert files(out) == files(tmp_path / "whole")


def test_a_part_that_was_killed_does_only_what_is_left(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = part(source, out, 1, 2)
    manifest = out / "manifest.1-of-2.jsonl"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[:2]) + lines[2][:20])
    again = part(source, out, 1, 2)
    assert again.labelled + again.failed == first.labelled + first.failed - 2 + sum(json.loads(line)["status"] == "failed" for line in lines[:2])
    assert part(source, out, 1, 2).labelled == 0


def test_other_parts_of_another_split_take_what_is_done(source: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        part(source, tmp_path / "out", number, 2)
    assert sum(part(source, tmp_path / "out", number, 3).labelled for number in (1, 2, 3)) == 0


def test_a_part_leaves_the_unfinished_files_of_others_alone(source: Path, tmp_path: Path) -> None:
    unfinished = tmp_path / "out" / "labels" / ".99-1.stego-part"
    unfinished.parent.mkdir(parents=True)
    unfinished.touch()
    part(source, tmp_path / "out", 1, 2)
    assert unfinished.exists()
    label_folder(source, tmp_path / "out", ColourSegmenter(), PLAIN)
    assert not unfinished.exists()


PART = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_shard import part
if __name__ == "__main__":
    part(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), 3)
"""


def test_parts_at_the_same_time(source: Path, tmp_path: Path) -> None:
    (tmp_path / "part.py").write_text(PART)
    here, root = Path(__file__).parent, Path(__file__).parents[3]
    command = [sys.executable, str(tmp_path / "part.py"), str(here), str(source), str(tmp_path / "out")]
    running = [subprocess.Popen([*command, str(number)], cwd=root, env={"PYTHONPATH": str(root)}) for number in (1, 2, 3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert label_folder(source, tmp_path / "out", ColourSegmenter(), PLAIN).skipped == 9


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/4/8"])
def test_a_part_that_cannot_be(text: str) -> None:
    with pytest.raises(StegoError, match=f"--shard {text}: expected a part and how many there are"):
        Shard.parse(text)


def test_the_command_takes_a_part(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stego_app.commands.label._load", lambda *_: ColourSegmenter())
    done: list[Any] = [CliRunner().invoke(app, ["label", str(source), str(tmp_path / "out"), "--no-crf", "--shard", f"{number}/2"]) for number in (1, 2)]
    assert sorted(result.exit_code for result in done) == [0, 1]
    assert "manifest." in "".join(result.output for result in done if result.exit_code)
    refused = CliRunner().invoke(app, ["label", str(source), str(tmp_path / "out"), "--shard", "1/2", "--format", "coco"])
    assert isinstance(refused.exception, StegoError)
    assert "--shard labels a part with a model" in str(refused.exception)
