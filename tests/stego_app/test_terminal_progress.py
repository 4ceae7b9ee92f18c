"""Lines of progress say how fast this run goes: not what an earlier one had done, nor a stage of the same name before."""

from __future__ import annotations

import pytest

from stego_app import progress


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_resumed_stage_is_timed_by_what_this_run_does(clock: _Clock, capsys: pytest.CaptureFixture[str]) -> None:
    show = progress._PlainLines()
    show("features", 901, 1001)  # 900 were there, the first of this run took a moment
    for done in range(902, 912):
        clock.now += 1
        show("features", done, 1001)
    assert lines(capsys) == ["features: 906/1001 1.0/s, about 95 s left", "features: 911/1001 1.0/s, about 90 s left"]


def test_a_stage_that_begins_anew_is_timed_anew(clock: _Clock, capsys: pytest.CaptureFixture[str]) -> None:
    show = progress._PlainLines()
    for start in (0.0, 5_000.0):
        clock.now += start
        for done in range(1, 5):
            show("features", done, 4)
            clock.now += 2
    assert lines(capsys) == ["features: 4/4 0.5/s"] * 2


@pytest.mark.usefixtures("clock")
def test_the_end_is_said_even_where_nothing_was_timed(capsys: pytest.CaptureFixture[str]) -> None:
    progress._PlainLines()("features", 3, 3)
    assert lines(capsys) == ["features: 3/3 "]


def test_what_takes_long_is_told_in_words_that_tell_something(clock: _Clock, capsys: pytest.CaptureFixture[str]) -> None:
    show = progress._PlainLines()
    show("clips", 0, 1000)
    for done in (1, 2):
        clock.now += 30
        show("clips", done, 1000)
    clock.now += 1e6
    show("clips", 1000, 1000)
    assert lines(capsys)[:2] == ["clips: 1/1000 30 s each, about 8.3 h left", "clips: 2/1000 30 s each, about 8.3 h left"]
    assert [progress.duration(seconds) for seconds in (0.4, 119.4, 120, 7199, 7200)] == ["0 s", "119 s", "2 min", "120 min", "2.0 h"]
    assert [progress.pace(speed) for speed in (25, 0.1, 0.05, 0.002)] == ["25.0/s", "0.1/s", "20 s each", "8 min each"]
