"""``stego demo`` from the embedded weights to the album."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.errors import StegoError
from stego_app import demo as demo_module
from stego_app.cli import main
from stego_app.demo import distinct_names, run_demo
from stego_app.demo_images import example_images
from stego_app.images import read_image
from stego_app.segmenter import Segmenter


def test_the_demo_writes_labels_overlays_and_an_album_that_opens_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["stego", "demo", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    photos = example_images()
    assert len(photos) >= 4
    page = (tmp_path / "album.html").read_text()
    assert page.count("data:image/jpeg") == len(photos)
    assert "http://" not in page
    assert "https://" not in page
    for photo in photos:
        labels = np.asarray(Image.open(tmp_path / "labels" / f"{photo.stem}.png"))
        assert labels.shape == read_image(photo).shape[:2]
        assert len(np.unique(labels)) >= 2


def test_photos_of_one_name_get_files_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = [tmp_path / "a" / "cat.png", tmp_path / "b" / "cat.png"]
    for seed, photo in enumerate(photos):
        photo.parent.mkdir()
        Image.fromarray(np.full((48 + 16 * seed, 64, 3), 90, np.uint8)).save(photo)
    monkeypatch.setattr(demo_module, "example_images", lambda: photos)
    run_demo(tmp_path / "out")
    for folder, suffix in (("labels", "png"), ("overlays", "jpg")):
        sizes = {path.name: Image.open(path).size for path in (tmp_path / "out" / folder).iterdir()}
        assert sizes == {f"cat.{suffix}": (64, 48), f"cat-2.{suffix}": (64, 64)}


def test_names_stay_apart_whatever_is_taken() -> None:
    names = distinct_names([Path(name) for name in ("x/a.jpg", "y/A.png", "z/a-2.jpg", "a.jpg", "b.jpg")])
    assert names == ["a", "A-2", "a-2-2", "a-3", "b"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = tmp_path / "a.png"
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(photo)
    monkeypatch.setattr(demo_module, "example_images", lambda: [photo])
    (tmp_path / "out").write_text("mine")
    with pytest.raises(StegoError, match="cannot be written") as caught:
        run_demo(tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_the_embedded_segmenter_tells_the_sky_from_the_trees_in_both_photos_of_buildings() -> None:
    """The same class must mean the same thing in two images: the sky over the pagoda and the sky over the tower."""
    photos = {path.stem: read_image(path) for path in example_images()}
    segmenter = Segmenter.load("default")
    china, tower = (segmenter(photos[name], crf=False).labels for name in ("china", "tower"))
    sky = int(np.bincount(china[20:80, 20:160].ravel()).argmax())
    trees = int(np.bincount(china[-100:, -160:].ravel()).argmax())
    height, width = tower.shape
    assert sky != trees
    assert int(np.bincount(tower[: height // 3, : width // 4].ravel()).argmax()) == sky
