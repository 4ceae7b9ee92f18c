"""Programs that change one file take turns."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from models.backbone import Backbone
from models.errors import StegoError
from stego_app.cli import main
from stego_app.segmenter import Segmenter
from stego_app.turns import turn
from tests.model_file import write_model

HOLDS = """
import sys, time
from pathlib import Path
from stego_app.turns import turn
with turn(Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(float(sys.argv[2]))
"""
COUNTS = """
import sys
from pathlib import Path
from stego_app.turns import turn
path = Path(sys.argv[1])
for _ in range(50):
    with turn(path):
        value = int(path.read_text())
        path.write_text(str(value + 1))
"""
RENAMES = """
import sys, time
from pathlib import Path
from stego_app.segmenter import Segmenter
from stego_app.turns import turn
path = Path(sys.argv[1])
with turn(path):
    segmenter = Segmenter.load(path, device="cpu")
    print("mine", flush=True)
    time.sleep(1)
    segmenter.rename(segmenter.table().leaves_of(0), "theirs").save(path)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def test_no_change_is_lost_between_programs_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("0")
    programs = [start(COUNTS, path) for _ in range(3)]
    assert [program.wait(60) for program in programs] == [0, 0, 0]
    assert path.read_text() == "150"
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_killed_program_gives_its_turn_back(tmp_path: Path) -> None:
    program = start(HOLDS, tmp_path / "m", 60)
    assert program.stdout is not None
    assert program.stdout.readline() == "mine\n"
    threading.Timer(0.3, program.kill).start()
    begun = time.monotonic()
    with turn(tmp_path / "m"):
        assert time.monotonic() - begun > 0.2
    program.wait(10)


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StegoError, match="cannot be written"), turn(tmp_path / "gone" / "m"):
        pass


def test_edits_of_the_command_line_wait_for_those_of_others(tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model(tmp_path / "model.safetensors", tiny_backbone)
    program = start(RENAMES, path)
    assert program.stdout is not None
    assert program.stdout.readline() == "mine\n"
    monkeypatch.setattr("sys.argv", ["stego", "classes", str(path), "--rename", "1=ours"])
    with pytest.raises(SystemExit):
        main()
    assert program.wait(30) == 0
    assert Segmenter.load(path, device="cpu").table().names[:2] == ["theirs", "ours"]


def test_names_found_for_classes_that_others_changed_meanwhile_are_not_written(
    tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_model(tmp_path / "model.safetensors", tiny_backbone)

    def slow(*_: object) -> dict[int, str]:
        segmenter = Segmenter.load(path, device="cpu")
        segmenter.rename(segmenter.table().leaves_of(0), "theirs").save(path)
        return {1: "ours"}

    monkeypatch.setattr("stego_app.naming.mapping.read_mapping", slow)
    monkeypatch.setattr("sys.argv", ["stego", "name", str(path), "--mapping", "names.csv"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "its classes were changed by another program meanwhile (1 edits); run the same command again" in capsys.readouterr().err
    assert Segmenter.load(path, device="cpu").table().names[0] == "theirs"


def test_a_link_and_its_file_are_one(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("0")
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "current.safetensors"
    link.symlink_to(path)
    with turn(link):
        assert (tmp_path / ".model.safetensors.lock").exists()
        assert [file.name for file in link.parent.iterdir()] == [link.name]


def test_a_folder_is_no_model_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for edits in ([], ["--rename", "0=a"]):
        monkeypatch.setattr("sys.argv", ["stego", "classes", str(tmp_path), *edits])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 2
        assert f"{tmp_path}: is a folder; expected a model file" in capsys.readouterr().err
