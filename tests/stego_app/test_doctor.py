"""The doctor finds what is wrong and names the command that mends it."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from stego_app import doctor


def by_name() -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.examine()}


def test_all_is_well_here() -> None:
    assert all(check.ok for check in doctor.examine() if check.needed)


def test_a_missing_package_and_a_second_opencv_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def without_timm(name: str) -> str:
        if name == "timm":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    class Other:
        metadata = {"Name": "opencv-python"}  # noqa: RUF012 (stands for a distribution)

    everything = list(importlib.metadata.distributions())
    monkeypatch.setattr(importlib.metadata, "version", without_timm)
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: [*everything, Other()])
    found = by_name()
    assert not found["timm"].ok
    assert found["timm"].remedy == "uv sync"
    assert not found["one OpenCV"].ok
    assert "uninstall opencv-python" in found["one OpenCV"].remedy


def test_damaged_weights_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from models import backbone_sources

    damaged = tmp_path / "backbone.safetensors"
    damaged.write_bytes(b"\0" * 64)
    monkeypatch.setattr(backbone_sources, "default_backbone_path", lambda: damaged)
    check = by_name()["embedded backbone"]
    assert not check.ok
    assert "backbone.safetensors" in check.found


@pytest.mark.parametrize("place", ["file", "file/cache"])
def test_a_cache_that_cannot_be_a_folder_is_found(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("STEGO_CACHE", str(tmp_path / place))
    check = doctor._cache()
    assert not check.ok
    assert f"{tmp_path / 'file'} is a file" in check.found


def test_files_that_a_run_removes_meanwhile_are_no_fault_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEGO_CACHE", str(tmp_path))
    feature = tmp_path / "feature"
    feature.write_text("x")

    def is_file(path: Path) -> bool:
        if path == feature:
            feature.unlink()
        return path == feature

    with monkeypatch.context() as patched:
        patched.setattr(Path, "is_file", is_file)
        check = doctor._cache()
    assert "holds 0 MB" in check.found


def test_a_cache_that_cannot_be_written_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("STEGO_CACHE", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    check = by_name()["feature cache"]
    assert not check.ok
    assert "STEGO_CACHE" in check.remedy


@pytest.mark.parametrize("broken", ["timm", "torch"])
def test_a_package_that_does_not_import_is_a_finding_with_a_remedy(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever needs it fails too, and must not take the other lines along."""
    real = importlib.import_module

    def stubbed(name: str) -> ModuleType:
        if name == broken:
            raise ImportError(f"{broken}: undefined symbol\nsecond line")
        return real(name)

    def fail() -> doctor.Check:
        raise ImportError("undefined symbol")

    monkeypatch.setattr(importlib, "import_module", stubbed)
    monkeypatch.setattr(doctor, "_device", fail)
    monkeypatch.setattr(doctor, "_backbone_weights", fail)
    found = by_name()
    for name in (f"import {broken}", "device", "embedded backbone"):
        assert not found[name].ok
        assert "ImportError: " in found[name].found
        assert "\n" not in found[name].found
        assert found[name].remedy == "uv sync --reinstall"
    assert found["import cv2"].ok
    assert found["embedded segmenter"].ok


def test_the_command_shows_a_broken_install_without_a_traceback(tmp_path: Path) -> None:
    """A timm that raises as it is imported, in a process of its own: every line that needs it is a MISS."""
    (tmp_path / "timm.py").write_text("raise ImportError('built for another torch')\n")
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(tmp_path), str(root)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "STEGO_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-m", "stego_app.cli", "doctor"], capture_output=True, text=True, cwd=root, env=environment, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 1
    [line] = [line for line in done.stdout.splitlines() if "import timm" in line]
    assert line.startswith("MISS")
    assert "built for another torch" in line
    assert "uv sync" in line
    assert any(line.startswith("ok") and "import cv2" in line for line in done.stdout.splitlines())
