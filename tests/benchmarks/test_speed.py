"""The program of speed: what it keeps and how it takes turns. Seconds themselves are measured, never tested."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.speed import __main__ as speed
from benchmarks.speed.history import append, draw
from benchmarks.speed.photos import copies
from benchmarks.speed.row import Row, race

ROW = Row("head", "a step", ours=0.1, reference=0.5, asked=10, quality="equal")


def test_ways_take_turns_after_a_warm_up() -> None:
    turns: list[str] = []
    laps = race({"a": lambda: turns.append("a"), "b": lambda: turns.append("b") or len(turns)}, rounds=2)  # type: ignore[func-returns-value]
    assert "".join(turns) == "ababab"
    assert laps["b"].result == 6
    assert 0 <= laps["a"].wall < 1


def test_every_run_is_kept_and_drawn(tmp_path: Path) -> None:
    history = tmp_path / "speed.jsonl"
    append(history, [ROW], "a machine")
    runs = append(history, [ROW, Row("CRF", "a photo", 1, 2, 5, "")], "a machine")
    assert [len(run["rows"]) for run in runs] == [1, 2]
    assert json.loads(history.read_text().splitlines()[0])["hardware"] == "a machine"
    draw(runs, tmp_path / "speed.png")
    assert Image.open(tmp_path / "speed.png").size[0] > 400


def test_a_row_tells_its_ratio_and_target() -> None:
    assert "| **5.00** | 10.00 |" in speed.line(ROW)


def test_copies_differ_in_bytes_alone(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "in" / "one.png")
    made = copies(tmp_path / "in", 3, tmp_path / "out")
    assert len({path.read_bytes() for path in made}) == 3
    assert {Image.open(path).getpixel((3, 3)) for path in made} == {(255, 0, 0)}


def test_an_unknown_row_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["speed", "--rows", "features,warp"])
    with pytest.raises(SystemExit, match="--rows warp: expected some of features"):
        speed.main()
