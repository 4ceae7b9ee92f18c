"""The page's work without a browser: encode once, decode often, edit with undo, bounded memory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from fake_segmenter import ChangingCatalog, FakeSegmenter
from PIL import Image
from sample_photo import photo

from api.catalog import Catalog
from models.errors import StegoError
from stego_app.edits import edits_from_json
from ui.desk import Desk
from ui.downloads import Downloads
from ui.held import Held
from ui.parts import fading, granularity
from ui.pictures import Look
from ui.sitting import Sitting, file_stem, picked_color
from ui.workshop import Runner, Workshop, at_once


class Counter:
    def __init__(self) -> None:
        self.encoded = 0

    def __call__(self) -> None:
        self.encoded += 1


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def desk_of(files: Path, run: Runner = at_once, max_pixels: int = 10_000, **segmenters: FakeSegmenter) -> Desk:
    return Desk(Workshop(Catalog(segmenters), files, max_pixels, run))


@pytest.fixture
def desk(counter: Counter, files: Path) -> Desk:
    return desk_of(files, default=FakeSegmenter(on_encode=counter), other=FakeSegmenter(default_classes=5))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "my photo (1).png"
    file.write_bytes(photo())
    return file


def test_granularity_and_crf_do_not_encode_again(desk: Desk, path: Path, counter: Counter) -> None:
    desk.open("tab", path, "default", classes=9, crf=1.0)
    seen = [len(desk.again("tab", classes=classes, crf=crf).segmentation.names) for classes in (2, 5, 27) for crf in (1.0, 0.0)]  # type: ignore[union-attr]
    assert seen == [2, 2, 5, 5, 27, 27]
    assert counter.encoded == 1


def test_the_view_and_its_files(desk: Desk, path: Path) -> None:
    sitting = desk.open("tab", path, "default", classes=9, crf=1.0)
    view = desk.view(sitting, Look(0.5))
    assert "80 × 60 pixels" in view.status
    assert f"{len(view.choices)} of 9 classes" in view.status
    assert [text for text, _ in view.choices] == [text for _, text in view.layers.masks]


def test_the_next_photo_is_seen_with_what_others_have_edited(path: Path, files: Path) -> None:
    catalog = ChangingCatalog(FakeSegmenter())
    desk = Desk(Workshop(catalog, files, 10_000))
    desk.open("tab", path, "default", classes=9, crf=1.0)
    catalog.segmenter = catalog.segmenter.rename(catalog.segmenter.table().leaves_of(0), "earth")
    assert desk.open("tab", path, "default", classes=9, crf=1.0).segmentation.names[0] == "earth"
    desk.edit("tab", "rename", [1], "mine")
    catalog.segmenter = catalog.segmenter.rename(catalog.segmenter.table().leaves_of(0), "moon")
    assert list(desk.open("tab", path, "default", classes=9, crf=1.0).segmentation.names[:2]) == ["earth", "mine"]  # this person's changes stay
    desk.undo("tab")
    assert desk.open("tab", path, "default", classes=9, crf=1.0).segmentation.names[0] == "moon"


def held(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_downloads_are_written_when_asked_for(desk: Desk, path: Path, files: Path) -> None:
    sitting = desk.open("tab", path, "default", classes=9, crf=1.0)
    desk.view(sitting, Look(0.5))
    assert held(files) == []
    index = desk.download("tab", "png", Look(0.5))
    assert index.name == "my-photo-1-classes.png"
    np.testing.assert_array_equal(np.asarray(Image.open(index)), sitting.segmentation.labels)
    overlay = desk.download("tab", "overlay", Look(0.5))
    assert overlay.name == "my-photo-1-overlay.jpg"
    assert Image.open(overlay).size == (80, 60)
    with pytest.raises(StegoError, match="format 'film'"):
        desk.download("tab", "film", Look(0.5))


def test_labelme_is_told_the_photos_own_name(desk: Desk, path: Path) -> None:
    desk.open("tab", path, "default", classes=9, crf=1.0)
    with ZipFile(desk.download("tab", "labelme", Look(0.5))) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".json")]
        assert json.loads(archive.read(name))["imagePath"] == path.name


def test_a_tab_holds_one_download(desk: Desk, path: Path, files: Path) -> None:
    for tab in ("a", "b"):
        desk.open(tab, path, "default", classes=9, crf=1.0)
    for alpha in (0.1, 0.5, 0.9):
        latest = desk.download("a", "overlay", Look(alpha))
    other = desk.download("b", "png", Look(0.5))
    assert held(files) == [other.name, latest.name]
    desk.drop("a")
    assert held(files) == [other.name]
    desk.drop("b")
    assert list(files.iterdir()) == []
    with pytest.raises(StegoError, match="no image here"):
        desk.download("a", "png", Look(0.5))


def test_the_segmenter_is_downloaded_with_its_edits(desk: Desk, path: Path) -> None:
    desk.open("tab", path, "default", classes=9, crf=1.0)
    edited = desk.edit("tab", "rename", [0], "sky")
    file = desk.download("tab", "segmenter", Look(0.5))
    assert file.name == "default-edited.safetensors"
    assert edits_from_json(json.loads(file.read_text()), 27) == edited.segmenter.edits


def test_a_download_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(StegoError, match=r"^a\.png: cannot be written on the server \(No space left on device\)$"):
        Downloads(tmp_path).write("tab", "a.png", full)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_segmenter_of_few_fine_clusters(most: int, path: Path, files: Path) -> None:
    segmenter = FakeSegmenter(default_classes=1, max_classes=most)
    slider = granularity(segmenter)
    assert slider == {"minimum": 1, "maximum": max(2, most), "value": 1, "interactive": most > 1}
    desk = desk_of(files, default=segmenter)
    desk.open("tab", path, "default", classes=slider["value"], crf=1.0)
    assert [len(desk.again("tab", classes=classes, crf=1.0).segmentation.names) for classes in (0, 1, 99)] == [1, 1, most]  # type: ignore[union-attr]


def test_edits_change_names_and_labels_and_can_be_undone(desk: Desk, path: Path) -> None:
    before = desk.open("tab", path, "default", classes=9, crf=1.0).segmentation
    sky, grass, box = (int(before.labels[0, 0]), int(before.labels[-1, 0]), int(before.labels[20, 30]))
    assert len({sky, grass, box}) == 3

    renamed = desk.edit("tab", "rename", [sky], " sky ")
    assert renamed.segmentation.names[sky] == "sky"
    merged = desk.edit("tab", "merge", [grass, box]).segmentation
    assert merged.labels[-1, 0] == merged.labels[20, 30] != merged.labels[0, 0]
    ignored = desk.edit("tab", "ignore", [int(merged.labels[0, 0])])
    assert ignored.segmentation.labels[0, 0] == 255
    assert sum(ignored.steps) == 3
    for _ in range(3):
        last = desk.undo("tab")
    np.testing.assert_array_equal(last.segmentation.labels, before.labels)
    assert last.segmentation.names == before.names
    with pytest.raises(StegoError, match="no change to undo"):
        desk.undo("tab")


def test_one_undo_takes_back_all_classes_that_one_click_ignored(desk: Desk, path: Path) -> None:
    before = desk.open("tab", path, "default", classes=9, crf=1.0).segmentation
    assert len(desk.edit("tab", "ignore", [0, 1, 2]).segmentation.names) == len(before.names) - 3
    assert desk.undo("tab").segmentation.names == before.names
    with pytest.raises(StegoError, match="no change to undo"):
        desk.undo("tab")


def test_splitting_gives_one_more_class(desk: Desk, path: Path) -> None:
    labels = desk.open("tab", path, "default", classes=2, crf=1.0).segmentation.labels
    assert len(desk.edit("tab", "split", [int(labels[0, 0])]).segmentation.names) == 3


def test_a_class_gets_the_colour_picked(desk: Desk, path: Path) -> None:
    label = int(desk.open("tab", path, "default", classes=9, crf=1.0).segmentation.labels[0, 0])
    recoloured = desk.edit("tab", "recolour", [label], "rgba(255, 128.4, 0, 1)")
    assert recoloured.segmentation.palette[label].tolist() == [255, 128, 0]
    assert desk.undo("tab").segmentation.palette[label].tolist() != [255, 128, 0]


@pytest.mark.parametrize(
    ("text", "color"),
    [("#1f9d8f", "#1f9d8f"), ("rgba(31, 157, 143.5, 1)", "#1f9d90"), ("rgb(255,0,300)", "#ff00ff"), (" #000000 ", "#000000"), ("red", "red"), ("", "")],
)
def test_what_colour_pickers_say(text: str, color: str) -> None:
    assert picked_color(text) == color


def test_before_and_after(desk: Desk, path: Path) -> None:
    assert desk.wipe("tab", "photo", Look(0.6)) is None
    sitting = desk.open("tab", path, "default", classes=9, crf=1.0)
    photo_wipe, border_wipe = desk.wipe("tab", "photo", Look(0.6)), desk.wipe("tab", "borders", Look(0.6))
    assert photo_wipe is not None
    assert border_wipe is not None
    np.testing.assert_array_equal(photo_wipe[0], sitting.picture)
    np.testing.assert_array_equal(photo_wipe[1], sitting.segmentation.overlay(0.6))
    np.testing.assert_array_equal(border_wipe[1], photo_wipe[1])
    assert desk.need("tab").crf == 1.0


def test_the_edited_segmenter_is_kept_where_there_is_a_place(path: Path, files: Path) -> None:
    kept: dict[str, Any] = {}
    desk = Desk(Workshop(Catalog({"default": FakeSegmenter()}), files, 10_000, save=kept.__setitem__))
    desk.open("tab", path, "default", classes=9, crf=1.0)
    edited = desk.edit("tab", "rename", [0], "sky")
    assert "**garden**" in desk.save("tab", " garden ")
    assert kept["garden"].edits == edited.segmenter.edits
    nowhere = desk_of(files, default=FakeSegmenter())
    nowhere.open("tab", path, "default", classes=9, crf=1.0)
    with pytest.raises(StegoError, match="download the segmenter instead"):
        nowhere.save("tab", "garden")


def test_edits_stay_for_the_next_photo_of_the_same_model(desk: Desk, path: Path) -> None:
    first = desk.open("tab", path, "default", classes=9, crf=1.0)
    label = int(first.segmentation.labels[0, 0])
    desk.edit("tab", "rename", [label], "sky")
    assert desk.open("tab", path, "default", classes=9, crf=1.0).segmentation.names[label] == "sky"
    assert "sky" not in desk.open("other tab", path, "default", classes=9, crf=1.0).segmentation.names
    assert "sky" not in desk.open("tab", path, "other", classes=9, crf=1.0).segmentation.names


def test_edits_that_came_with_the_model_are_not_undone(path: Path, files: Path) -> None:
    given = FakeSegmenter()
    given = given.rename(given.table().leaves_of(0), "water")
    desk = desk_of(files, default=given)
    desk.open("tab", path, "default", classes=9, crf=1.0)
    with pytest.raises(StegoError, match="no change to undo"):
        desk.undo("tab")


@pytest.mark.parametrize(
    ("operation", "labels", "name", "message"),
    [
        ("rename", [], "x", "choose a class first"),
        ("rename", [0, 1], "x", "a single class to rename"),
        ("rename", [0], "   ", "class name"),
        ("merge", [0], "", "two or more"),
        ("split", [0, 1], "", "a single class to split"),
        ("ignore", [], "", "choose a class first"),
        ("ignore", [99], "", "class 99 does not exist"),
        ("recolour", [0, 1], "#ff0000", "a single class to recolour"),
        ("recolour", [0], "mauve", "expected #rrggbb"),
    ],
)
def test_edits_that_cannot_be(desk: Desk, path: Path, operation: str, labels: list[int], name: str, message: str) -> None:
    desk.open("tab", path, "default", classes=9, crf=1.0)
    with pytest.raises(StegoError, match=message):
        desk.edit("tab", operation, labels, name)
    assert sum(desk.need("tab").steps) == 0


def test_bad_files_are_one_line(desk: Desk, tmp_path: Path) -> None:
    def message(data: bytes) -> str:
        file = tmp_path / "photo.jpg"
        file.write_bytes(data)
        with pytest.raises(StegoError) as caught:
            desk.open("tab", file, "default", classes=9, crf=1.0)
        return str(caught.value)

    for data, reason in ((b"a text renamed", "not an image"), (b"", "empty"), (photo()[:100], "truncated|damaged"), (photo(200, 200), "10,000 pixels")):
        text = message(data)
        assert text.startswith("photo.jpg: ")
        assert "\n" not in text
        assert re.search(reason, text), text


def test_without_an_image(desk: Desk) -> None:
    assert desk.again("tab", classes=3, crf=1.0) is None
    with pytest.raises(StegoError, match="no image here"):
        desk.undo("tab")
    desk.drop("tab")


def test_a_pixel_of_the_picture_finds_its_class(tmp_path: Path) -> None:
    desk = desk_of(tmp_path, max_pixels=5_000_000, default=FakeSegmenter())
    large = BytesIO()
    Image.open(BytesIO(photo())).resize((2000, 1500), Image.Resampling.NEAREST).save(large, "PNG")
    (tmp_path / "large.png").write_bytes(large.getvalue())
    sitting = desk.open("tab", tmp_path / "large.png", "default", classes=9, crf=1.0)
    assert sitting.picture.shape == (768, 1024, 3)
    assert sitting.segmentation.labels.shape == (1500, 2000)
    assert sitting.label_at(5, 5) == sitting.segmentation.labels[0, 0]
    assert sitting.label_at(1023, 767) == sitting.segmentation.labels[-1, -1]
    assert sitting.label_at(10**9, -5) == sitting.segmentation.labels[0, -1]
    assert sitting.label_in_legend(0) == sitting.segmentation.areas()[0]["label"]
    assert sitting.label_in_legend(99) is None  # the legend was longer when it was clicked
    ignored = desk.edit("tab", "ignore", [int(sitting.segmentation.labels[0, 0])])
    assert ignored.label_at(5, 5) is None


def test_the_given_runner_does_the_work(path: Path, files: Path) -> None:
    calls: list[Any] = []

    def run(work: Callable[[], Any]) -> Any:
        calls.append(work)
        return work()

    desk = desk_of(files, run, default=FakeSegmenter())
    desk.open("tab", path, "default", classes=9, crf=1.0)
    desk.again("tab", classes=3, crf=1.0)
    assert len(calls) == 2


def test_only_so_many_pixels_are_held(desk: Desk, path: Path) -> None:
    sitting = desk.open("tab", path, "default", classes=9, crf=1.0)
    sittings: Held[Sitting] = Held(max_pixels=sitting.pixels * 2)
    for tab in ("a", "b"):
        sittings.put(tab, sitting)
    assert sittings.get("a") is sitting  # and so "b" is the longest unused
    sittings.put("c", sitting)
    assert [sittings.get(tab) is not None for tab in ("a", "b", "c")] == [True, False, True]
    small: Held[Sitting] = Held(max_pixels=1)
    small.put("a", sitting)
    assert small.get("a") is sitting
    small.drop("a")
    assert small.get("a") is None


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.jpg", "a"), ("../../etc/passwd", "passwd"), ("Größe 1.png", "Gr-e-1"), (".png", "png"), ("", "image"), ("…", "image"), ("x" * 90, "x" * 40)],
)
def test_names_of_downloads_are_harmless(name: str, stem: str) -> None:
    assert file_stem(name) == stem


def test_fading_takes_colour_from_uncertain_pixels_only(desk: Desk, path: Path) -> None:
    sitting = desk.open("tab", path, "default", classes=9, crf=1.0)
    plain, faded = desk.view(sitting, Look(0.6)), desk.view(sitting, Look(0.6, 1.0))
    confidence = sitting.segmentation.confidence
    assert confidence.min() < confidence.max()
    strength = [sum(mask for mask, _ in view.layers.masks) for view in (plain, faded)]
    np.testing.assert_allclose(strength[0], 0.6, atol=1e-6)
    np.testing.assert_allclose(strength[1], 0.6 * confidence, atol=1e-6)
    distance = [np.abs(view.overlay.astype(int) - view.picture.astype(int)).sum() for view in (plain, faded)]
    assert distance[1] < distance[0]
    assert f"confidence {confidence.mean():.0%}".replace("%", " %") in plain.status


def test_a_model_without_confidence_says_so_and_fades_nothing(path: Path, files: Path) -> None:
    without = FakeSegmenter(has_confidence=False)
    desk = desk_of(files, default=without)
    sitting = desk.open("tab", path, "default", classes=9, crf=1.0)
    view = desk.view(sitting, Look(0.6, 1.0))
    assert "cannot tell its confidence" in view.status
    np.testing.assert_array_equal(view.overlay, desk.view(sitting, Look(0.6)).overlay)
    assert desk.download("tab", "overlay", Look(0.6, 1.0)).stat().st_size > 0
    assert fading(without)["interactive"] is False
    assert "train it again" in fading(without)["info"]
    assert fading(FakeSegmenter())["interactive"] is True
