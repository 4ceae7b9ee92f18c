"""A queue that is out of reach is said in one line, now and then, and not in a traceback every second."""

from __future__ import annotations

import logging

import pytest

from api.jobs.quiet import NowAndThen


def test_what_comes_again_is_said_once_a_minute_in_one_line(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("api.jobs.quiet.time.monotonic", lambda: clock[-1])
    logger = logging.getLogger("stego.test.quiet")
    logger.addFilter(NowAndThen(60))

    def fail() -> None:
        try:
            raise ConnectionError("Connection refused\nby 127.0.0.1")
        except ConnectionError:
            logger.exception("Error reading from queue")

    for seconds in (1000.0, 1001.0, 1059.0, 1061.0, 1062.0):
        clock.append(seconds)
        fail()
        logger.warning("something else")
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["Error reading from queue (Connection refused by 127.0.0.1)", "something else"] * 2
    assert all(record.exc_info is None for record in caplog.records)
