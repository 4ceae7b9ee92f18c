"""Two models on one photo without a browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_segmenter import ChangingCatalog, FakeSegmenter
from PIL import Image
from sample_photo import photo

from api.catalog import Catalog
from models.errors import StegoError
from ui.compare import CompareDesk, Setting
from ui.desk import Desk
from ui.workshop import Workshop


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "photo.png"
    file.write_bytes(photo())
    return file


def test_a_photo_is_encoded_once_a_model(tmp_path: Path, path: Path) -> None:
    encoded: list[str] = []
    segmenters = {name: FakeSegmenter(on_encode=lambda name=name: encoded.append(name)) for name in ("default", "other")}  # type: ignore[misc]
    benches = CompareDesk(Workshop(Catalog(segmenters), tmp_path, 10_000))
    with pytest.raises(StegoError, match="no image here"):
        benches.compare("tab", Setting("default", 9, 1.0), Setting("other", 9, 1.0))
    benches.open("tab", path)
    same = benches.compare("tab", Setting("default", 9, 1.0), Setting("other", 9, 0.0))
    assert "agree on **100 %**" in same.status
    assert np.ptp(same.differing.astype(int), axis=2).max() < 120  # nothing is magenta
    coarse = benches.compare("tab", Setting("default", 9, 1.0), Setting("default", 1, 1.0))
    labels = FakeSegmenter()(np.asarray(Image.open(path))).labels
    largest = np.bincount(labels.ravel()).max() / labels.size
    assert f"agree on **{largest:.0%}**".replace("%", " %") in coarse.status
    assert "3 and 1 classes" in coarse.status
    assert sorted(encoded) == ["default", "other"]
    benches.drop("tab")
    assert benches.begin("tab", None) is False


def test_a_model_that_another_has_taken_the_place_of_encodes_again(tmp_path: Path, path: Path) -> None:
    encoded: list[str] = []
    catalog = ChangingCatalog(FakeSegmenter(on_encode=lambda: encoded.append("old")))
    benches = CompareDesk(Workshop(catalog, tmp_path, 10_000))
    benches.open("tab", path)
    benches.compare("tab", Setting("default", 9, 1.0), Setting("default", 5, 1.0))
    catalog.segmenter = FakeSegmenter(on_encode=lambda: encoded.append("new"))
    benches.compare("tab", Setting("default", 9, 1.0), Setting("default", 5, 1.0))
    assert encoded == ["old", "new"]


def test_the_photo_of_the_first_tab_is_taken(tmp_path: Path, path: Path) -> None:
    shop = Workshop(Catalog({"default": FakeSegmenter()}), tmp_path, 10_000)
    desk, benches = Desk(shop), CompareDesk(shop)
    sitting = desk.open("tab", path, "default", classes=9, crf=1.0)
    assert benches.begin("tab", sitting) is True
    assert benches.compare("tab", Setting("default", 9, 1.0), Setting("default", 99, 1.0)).overlays[0].shape == (60, 80, 3)
