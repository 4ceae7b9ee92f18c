"""``stego demo`` from the embedded weights to the album."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stego_app.cli import main
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
