"""Files are whole or absent, and trouble is one line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from models.errors import StegoError
from stego_app.atomic import OutputError, check_place, replacing, write_bytes


def test_writes_with_its_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.bin"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, OutputError), (errno.EACCES, OutputError), (errno.ENAMETOOLONG, StegoError)])
def test_a_failed_write_keeps_the_old_file_and_leaves_no_part(number: int, kind: type[StegoError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    whole = Path.write_bytes

    def broken(part: Path, data: bytes) -> int:
        whole(part, data[:1])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", broken)
    with pytest.raises(StegoError, match=r"a\.bin: ") as caught:
        write_bytes(path, b"new")
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StegoError, match="cannot be written"):
        write_bytes(tmp_path / "file" / "a.bin", b"x")


def test_a_place_that_cannot_be_written_is_told_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(StegoError, match="cannot be written"):
        check_place(tmp_path / "file" / "a.onnx")
    with pytest.raises(StegoError, match=r"folder\.onnx: is a folder; expected a file to write"):
        check_place(tmp_path / "folder.onnx")
    check_place(tmp_path / "file")
    check_place(tmp_path / "new" / "a.onnx")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder.onnx", "new"]
    assert (tmp_path / "file").read_text() == "mine"


def test_an_interruption_leaves_no_part(tmp_path: Path) -> None:
    def interrupted() -> None:
        with replacing(tmp_path / "a") as part:
            part.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_name_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".png")
    write_bytes(path, b"x")
    assert path.read_bytes() == b"x"
