"""Options of `stego serve` that are out of range: one line that names the option as it was typed, and code 2."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest
from fake_segmenter import FakeSegmenter

from api import ServiceSettings, create_app
from models.errors import StegoError
from stego_app.cli import main


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--rate", "0", "option '--rate': Input should be greater than 0 (got 0.0)"),
        ("--crf-workers", "300", "option '--crf-workers': Input should be less than or equal to 256 (got 300)"),
        ("--queue", "20000", "option '--queue': Input should be less than or equal to 10000 (got 20000)"),
        ("--job-set", "keep_days", "--job-set keep_days: expected name=value, e.g. --job-set keep_days=3"),
        ("--job-set", "keep_days=0", "setting 'keep_days': Input should be greater than 0 (got 0)"),
    ],
)
def test_a_wrong_option_is_one_line(
    option: str, value: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("api.serve", lambda settings: pytest.fail(f"served with {settings}"))
    monkeypatch.setattr(sys, "argv", ["stego", "serve", "--data", str(tmp_path), option, value])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert capsys.readouterr().err == f"stego: {told}\n"


def test_a_system_without_shared_semaphores_is_one_line_before_anything_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("multiprocessing.context.SpawnContext.Lock", refuse, raising=False)
    with pytest.raises(StegoError, match=r"expected a /dev/shm that can be written to, or --crf-workers 0"):
        create_app(ServiceSettings(ui=False), {"default": FakeSegmenter()})
    create_app(ServiceSettings(ui=False, crf_workers=0), {"default": FakeSegmenter()})
