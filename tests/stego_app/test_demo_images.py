"""The photos that installed packages bring."""

from __future__ import annotations

from importlib.machinery import ModuleSpec

import pytest

from stego_app import demo_images
from stego_app.images import read_image


def test_they_are_there_and_readable() -> None:
    paths = demo_images.example_images()
    assert len(paths) >= 3
    assert len({path.name for path in paths}) == len(paths)
    assert all(min(read_image(path).shape[:2]) >= 200 for path in paths)


def test_absent_packages_and_files_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = demo_images.find_spec

    def without_gradio(name: str) -> ModuleSpec | None:
        return None if name == "gradio" else real(name)

    monkeypatch.setattr(demo_images, "find_spec", without_gradio)
    assert {path.name for path in demo_images.example_images()} == {"china.jpg", "flower.jpg"}
    monkeypatch.setattr(demo_images, "_PHOTOS", (("sklearn", "datasets/images/absent.jpg"),))
    assert demo_images.example_images() == []
