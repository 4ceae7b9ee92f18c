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
