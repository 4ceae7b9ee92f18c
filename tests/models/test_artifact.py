"""Artefact files: what is written comes back, and whatever is wrong with a file is one plain line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.artifact import ArtifactError, read_artifact, read_header, tensors_digest, write_artifact

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, -2, 3], dtype=torch.int8), "half": torch.ones(2, dtype=torch.float16)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "er" / "model.safetensors"
    write_artifact(path, "backbone", TENSORS, {"note": "größer"})
    return path


def one_line(error: pytest.ExceptionInfo[ArtifactError], path: Path) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def test_tensors_and_header_come_back(file: Path) -> None:
    tensors, header = read_artifact(file, "backbone")
    assert header["note"] == "größer"
    assert header["kind"] == "backbone"
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    assert [path.name for path in file.parent.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("name", ["plants.onnx", "plants.xml"])
def test_an_exported_graph_is_told_from_what_it_was_made_of(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x08\x0a graph")
    with pytest.raises(ArtifactError, match="give the file that it was made of, with --runtime onnx or openvino") as error:
        read_header(tmp_path / name)
    one_line(error, tmp_path / name)


def test_digest_sees_names_types_shapes_and_values() -> None:
    base = tensors_digest(TENSORS)
    assert base == tensors_digest(dict(reversed(TENSORS.items())))
    for change in ({"a": TENSORS["a"] + 1}, {"a": TENSORS["a"].reshape(3, 2)}, {"a": TENSORS["a"].half()}):
        assert tensors_digest({**TENSORS, **change}) != base
    assert tensors_digest({"c" if name == "a" else name: tensor for name, tensor in TENSORS.items()}) != base


def test_altered_tensors_are_refused(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 0x40
    file.write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match="do not match the checksum") as error:
        read_artifact(file, "backbone")
    one_line(error, file)


@pytest.mark.parametrize("content", [b"", b"\x00" * 7, b"not a model at all, just text", b"\xff" * 64])
def test_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="not a readable safetensors file") as error:
        read_header(path)
    one_line(error, path)


def test_truncated_file_is_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ArtifactError) as error:
        read_artifact(file, "backbone")
    one_line(error, file)


def test_wrong_kind_version_and_foreign_files_are_refused(tmp_path: Path, file: Path) -> None:
    with pytest.raises(ArtifactError, match="this is a backbone file; expected a segmenter file"):
        read_artifact(file, "segmenter")
    newer = tmp_path / "newer.safetensors"
    save_file(TENSORS, newer, metadata={"stego": '{"kind": "backbone", "version": 99, "sha256": ""}'})
    with pytest.raises(ArtifactError, match="layout version 99; this release reads version 1"):
        read_artifact(newer, "backbone")
    foreign = tmp_path / "foreign.safetensors"
    save_file(TENSORS, foreign)
    with pytest.raises(ArtifactError, match="without a stego header"):
        read_header(foreign)
    kindless = tmp_path / "kindless.safetensors"
    save_file(TENSORS, kindless, metadata={"stego": "[1]"})
    with pytest.raises(ArtifactError, match="names no kind"):
        read_header(kindless)
    with pytest.raises(ArtifactError, match="no such model file"):
        read_header(tmp_path / "absent.safetensors")


def test_failed_write_leaves_the_old_file_and_no_litter(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def full_disk(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("models.tensor_file.save_file", full_disk)
    with pytest.raises(ArtifactError, match="No space left on device") as error:
        write_artifact(file, "backbone", {"a": torch.zeros(3)}, {})
    one_line(error, file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_an_interrupted_write_leaves_the_old_file_and_no_litter(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def interrupted(tensors: dict[str, torch.Tensor], path: Path, **options: dict[str, str]) -> None:
        save_file(tensors, path, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr("models.tensor_file.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_artifact(file, "backbone", {"a": torch.zeros(3)}, {})
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions and links are those of POSIX")
def test_permissions_are_those_of_the_user_and_of_the_file_that_was_there(tmp_path: Path) -> None:
    path, shared = tmp_path / "model.safetensors", tmp_path / "shared.safetensors"
    before = os.umask(0o022)
    try:
        write_artifact(shared, "backbone", TENSORS, {})
        assert shared.stat().st_mode & 0o777 == 0o644
        os.umask(0o077)
        write_artifact(path, "backbone", TENSORS, {})
        assert path.stat().st_mode & 0o777 == 0o600
        os.umask(0o022)
        write_artifact(path, "backbone", TENSORS, {})
        assert path.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions and links are those of POSIX")
def test_a_link_goes_on_leading_to_the_file(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "current.safetensors"
    link.symlink_to(file)
    write_artifact(link, "backbone", {"a": torch.zeros(3)}, {})
    assert link.is_symlink()
    assert list(read_artifact(file, "backbone")[0]) == ["a"]
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_name_may_be_as_long_as_names_can_be(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 240 + ".safetensors")
    write_artifact(path, "backbone", TENSORS, {})
    assert read_header(path)["kind"] == "backbone"


def test_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ArtifactError, match="cannot write the backbone file"):
        write_artifact(tmp_path / "taken" / "x.safetensors", "backbone", TENSORS, {})


def test_what_was_read_stays_when_the_file_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_artifact(path, "backbone", {"weight": torch.ones(4096)}, {})
    tensors, _ = read_artifact(path, "backbone")
    path.write_bytes(bytes(path.stat().st_size))  # in place, as `cp` does; write_artifact itself puts a new file there
    assert bool((tensors["weight"] == 1).all())
