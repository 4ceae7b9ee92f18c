"""Correspondences without a browser: photos, the point, the heat of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_segmenter import FakeSegmenter
from PIL import Image
from sample_photo import photo

from api.catalog import Catalog
from models.errors import StegoError
from stego_app.patch_features import SPACES
from ui.features import shelf_pictures
from ui.pair import PairDesk, Point, view_pair
from ui.seen import SIDE, look_at
from ui.workshop import Workshop


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    files = tmp_path / "files"
    files.mkdir()
    return Workshop(Catalog({"default": FakeSegmenter(), "other": FakeSegmenter()}), files, max_pixels=100_000)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    made = []
    for number in range(2):
        made.append(tmp_path / f"photo-{number}.png")
        made[-1].write_bytes(photo(96, 128))
    return made


def test_what_is_alike_glows_in_both_photos(shop: Workshop, paths: list[Path]) -> None:
    pairs = PairDesk(shop)
    for side, path in enumerate(paths):
        pair = pairs.open("tab", side, path, "default")
    sky, grass = (slice(20, 60), slice(20, 60)), (slice(-60, -20), slice(20, 60))
    for place, hot, cold in (((0.1, 0.1), sky, grass), ((0.1, 0.9), grass, sky)):
        for space in SPACES:
            view = view_pair(pairs.point("tab", Point(0, *place)), space, 0.2)
            for picture in view.pictures:
                assert picture is not None
                assert picture[hot].mean() > picture[cold].mean() + 30
            assert "second photo: cosine **1.00**" in view.status
    assert pair.photos[0] is not None
    assert max(pair.photos[0].picture.shape) == SIDE


def test_one_photo_is_enough_and_the_point_stays_where_a_photo_is(shop: Workshop, paths: list[Path]) -> None:
    pairs = PairDesk(shop)
    pair = pairs.open("tab", 1, paths[0], "default")
    assert pair.point.side == 1
    view = view_pair(pair, "backbone", 0.2)
    assert view.pictures[0] is None
    assert view.pictures[1] is not None
    assert "Drop a first photo" in view.status
    with pytest.raises(StegoError, match="no first photo yet"):
        pairs.point("tab", Point(0, 0.5, 0.5))
    pairs.open("tab", 0, paths[1], "default")
    pairs.point("tab", Point(1, 0.2, 0.2))
    closed = pairs.close("tab", 1)
    assert closed is not None
    assert closed.point.side == 0
    assert pairs.close("tab", 0) is None
    assert pairs.close("tab", 0) is None
    with pytest.raises(StegoError, match="no image here"):
        pairs.point("tab", Point(0, 0.5, 0.5))


def test_photos_of_another_model_are_let_go_of(shop: Workshop, paths: list[Path]) -> None:
    pairs = PairDesk(shop)
    pairs.open("tab", 0, paths[0], "default")
    pair = pairs.open("tab", 1, paths[1], "other")
    assert [photo is not None for photo in pair.photos] == [False, True]
    pairs.drop("tab")
    assert pairs.find("tab") is None


def test_features_of_several_photos_share_their_colours(shop: Workshop, paths: list[Path]) -> None:
    photos = [look_at(shop, path, "default") for path in paths]
    pictures, status = shelf_pictures(photos, "backbone", 0)
    assert [name for _, name in pictures] == ["photo-0.png", "photo-1.png"]
    np.testing.assert_array_equal(pictures[0][0], pictures[1][0])
    height, width = photos[0].picture.shape[:2]
    assert pictures[0][0].shape == (height, 2 * width + 8, 3)
    np.testing.assert_array_equal(pictures[0][0][:, :width], photos[0].picture)
    colors = pictures[0][0][:, width + 8 :]
    assert np.abs(colors[30, 30].astype(int) - colors[-30, 30]).sum() > 100  # sky and grass
    assert "components 1 to 3" in status
    with pytest.raises(StegoError, match="components of"):
        shelf_pictures(photos, "backbone", 3)  # these tokens have four numbers


def test_large_photos_are_reduced(shop: Workshop, tmp_path: Path) -> None:
    Image.new("RGB", (300, 100)).save(tmp_path / "wide.png")
    assert look_at(shop, tmp_path / "wide.png", "default").picture.shape == (256, 768, 3)
