"""The doctor finds what is wrong and names the command that mends it."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

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


def test_a_cache_that_cannot_be_written_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("STEGO_CACHE", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    check = by_name()["feature cache"]
    assert not check.ok
    assert "STEGO_CACHE" in check.remedy
