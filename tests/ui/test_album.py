"""A folder segmented without a browser: names, failures, waiting, what is told, what is written."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from bed_photos import bed_photos
from fake_segmenter import FakeSegmenter
from PIL import Image

from api.catalog import Catalog
from api.worker import BusyError
from models.errors import StegoError
from stego_app.formats.label_map import Classes
from stego_app.images import read_index_image
from stego_app.naming.mapping import read_mapping
from ui.album import Album, Albums, distinct_uploads, folder_images, segment_all
from ui.exports import choices, write_album
from ui.folder import legend_html, progress_html
from ui.workshop import Runner, Workshop, at_once


def shop_of(files: Path, run: Runner = at_once) -> Workshop:
    files.mkdir(exist_ok=True)
    return Workshop(Catalog({"default": FakeSegmenter()}), files, 10_000, run)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "garden"
    (root / "more").mkdir(parents=True)
    for number, (name, pixels) in enumerate(bed_photos(3)):
        Image.fromarray(pixels).save(root / ("more/bed-0.png" if number == 2 else name))
    (root / "broken.png").write_bytes(b"no image")
    return root


def done(tmp_path: Path, folder: Path, run: Runner = at_once) -> tuple[Workshop, Albums, Album]:
    shop = shop_of(tmp_path / "files", run)
    albums = Albums(shop.files)
    steps = list(segment_all(shop, albums, "tab", FakeSegmenter(), folder_images(folder), classes=9, crf=1.0))
    assert len(steps) == 5
    return shop, albums, steps[-1]


def test_every_image_is_a_page_or_a_failure(tmp_path: Path, folder: Path) -> None:
    _, albums, album = done(tmp_path, folder)
    assert [page.name for page in album.pages] == ["bed-0.png", "bed-1.png", "more/bed-0.png"]
    assert [name for name, _ in album.failures] == ["broken.png"]
    assert "broken.png: " in album.failures[0][1]
    for page in album.pages:
        expected = FakeSegmenter()(np.asarray(Image.open(folder / page.name)))
        np.testing.assert_array_equal(read_index_image(Path(str(page.label_map.source))), expected.labels)
        assert page.shares.sum() == pytest.approx(1)
    assert albums.get("tab") is album
    albums.drop("tab")
    assert not album.place.exists()


def test_an_album_is_left_off_where_its_browser_has_gone(tmp_path: Path, folder: Path) -> None:
    shop = shop_of(tmp_path / "files")
    albums = Albums(shop.files)
    steps = segment_all(shop, albums, "tab", FakeSegmenter(), folder_images(folder), classes=9, crf=1.0)
    next(steps)
    next(steps)
    albums.drop("tab")
    assert list(steps) == []
    assert albums.get("tab") is None
    assert [path for path in shop.files.rglob("*") if path.is_file()] == []


def test_an_album_that_was_begun_anew_is_not_shown_again_for_a_photo_that_fails(tmp_path: Path) -> None:
    (tmp_path / "garden").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "garden" / name).write_bytes(b"no image")
    shop = shop_of(tmp_path / "files")
    albums = Albums(shop.files)
    first = segment_all(shop, albums, "tab", FakeSegmenter(), folder_images(tmp_path / "garden"), classes=9, crf=1.0)
    next(first)
    next(segment_all(shop, albums, "tab", FakeSegmenter(), folder_images(tmp_path / "garden"), classes=9, crf=1.0))
    assert list(first) == []


def test_only_so_many_albums_are_kept(tmp_path: Path) -> None:
    albums = Albums(tmp_path)
    classes = Classes.of(["sky"])
    made = [albums.begin(f"tab {number}", 1, classes) for number in range(23)]
    assert [album.place.exists() for album in made] == [False] * 3 + [True] * 20


def test_a_folder_waits_for_its_turn(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("ui.album.time.sleep", waits.append)
    lock, refused = threading.Lock(), [2]

    def run(work: Callable[[], Any]) -> Any:
        with lock:
            if refused[0]:
                refused[0] -= 1
                raise BusyError("busy", 3)
        return work()

    _, _, album = done(tmp_path, folder, run)
    assert len(album.pages) == 3
    assert waits == [3.0, 3.0]


def test_uploads_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "1" / "a.png", tmp_path / "2" / "a.png", tmp_path / "3" / "b.png", tmp_path / "4" / "a.png"]
    assert [str(name) for name, _ in distinct_uploads(paths)] == ["a.png", "a-2.png", "b.png", "a-3.png"]


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(StegoError, match="no images found"):
        folder_images(tmp_path)


@pytest.mark.parametrize("kind", [kind for _, kind in choices()])
def test_every_format_is_one_file_of_all_images(tmp_path: Path, folder: Path, kind: str) -> None:
    shop, _, album = done(tmp_path, folder)
    maps = [page.label_map for page in album.pages]
    file = write_album(shop.downloads, "tab", kind, maps, album.classes)
    assert file.stat().st_size > 100
    if kind == "png":
        archive = ZipFile(file)
        assert sorted(archive.namelist()) == ["classes.csv", "labels/bed-0.png", "labels/bed-1.png", "labels/more/bed-0.png"]
        with archive.open("labels/more/bed-0.png") as inside:
            np.testing.assert_array_equal(np.asarray(Image.open(inside)), maps[2].labels)
        rows = list(csv.DictReader(io.StringIO(archive.read("classes.csv").decode())))
        assert [row["name"] for row in rows] == list(album.classes.names)
        (tmp_path / "classes.csv").write_bytes(archive.read("classes.csv").replace(b"class 3", b"soil"))
        assert read_mapping(tmp_path / "classes.csv", FakeSegmenter().table(9)) == {3: "soil"}
    elif kind == "overlay":
        assert sorted(ZipFile(file).namelist()) == ["overlays/bed-0.jpg", "overlays/bed-1.jpg", "overlays/more/bed-0.jpg"]
    elif kind == "coco":
        document = json.loads(file.read_text())
        assert [image["file_name"] for image in document["images"]] == ["bed-0.png", "bed-1.png", "more/bed-0.png"]
        assert sum(entry["area"] for entry in document["annotations"]) == 3 * 60 * 80
    elif file.suffix == ".zip":
        names = " ".join(ZipFile(file).namelist())
        assert "bed-0" in names
        assert "bed-1" in names
    else:
        text = file.read_text()
        assert "bed-0" in text
        assert "bed-1" in text


def test_labelme_files_name_the_photos_not_where_the_server_keeps_them(tmp_path: Path, folder: Path) -> None:
    shop, _, album = done(tmp_path, folder)
    archive = ZipFile(write_album(shop.downloads, "tab", "labelme", [page.label_map for page in album.pages], album.classes))
    named = {name: json.loads(archive.read(name))["imagePath"] for name in archive.namelist() if name.endswith(".json")}
    assert named == {"labelme/bed-0.json": "bed-0.png", "labelme/bed-1.json": "bed-1.png", "labelme/more/bed-0.json": "bed-0.png"}


def test_what_is_told_is_safe_and_plain(tmp_path: Path) -> None:
    album = Album(tmp_path, 4, Classes.of(["<script>", "sky", "dot"]))
    assert "0 of 4" in progress_html(album, running=True)
    assert legend_html(album) == ""
    album.failures.append(("<b>.png", "<b>.png: not an image"))
    told = progress_html(album, running=False)
    assert "1 of 4 · stopped" in told
    assert "<b>.png" not in told
    assert "1 could not be read" in told
    shares = np.array([0.25, 0.745, 0.005])
    page = type("Page", (), {"shares": shares})
    album.pages.append(page)  # type: ignore[arg-type]
    legend = legend_html(album)
    assert "<script>" not in legend
    assert legend.index("sky") < legend.index("&lt;script&gt;")
    assert "and 1 below 1 %" in legend
    assert "s left" in progress_html(album, running=True)


def test_names_below_the_folder_are_relative(folder: Path) -> None:
    assert [name for name, _ in folder_images(folder)] == [PurePosixPath(name) for name in ("bed-0.png", "bed-1.png", "broken.png", "more/bed-0.png")]
