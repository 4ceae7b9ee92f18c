"""A plain folder of images and labels as a data set: how files pair, what meta.json says, and every way they can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.errors import StegoError
from stego_app.data import LabelRule, open_dataset
from tests.stego_app.data.layout_parts import SIZE, keys, message, write_image, write_label


def test_folder_without_labels(tmp_path: Path) -> None:
    for name in ("b.jpg", "a/c.png"):
        write_image(tmp_path / name)
    dataset = open_dataset(tmp_path)
    assert keys(dataset) == ["a/c", "b"]
    assert dataset.labelled == []
    assert dataset.class_names is None
    with pytest.raises(StegoError) as error:
        dataset.read_label(dataset.samples[0])
    assert message(error).endswith("c.png: has no label")


@pytest.mark.parametrize("images", ["images", "imgs"])
def test_folder_with_images_and_labels_nested(tmp_path: Path, images: str) -> None:
    for name in ("one", "deep/two"):
        write_image(tmp_path / images / f"{name}.jpg")
        write_label(tmp_path / "labels" / f"{name}.png", [0, 7, 254, 255])
    dataset = open_dataset(tmp_path)
    assert keys(dataset) == ["deep/two", "one"]
    assert [sample.label for sample in dataset.samples] == [tmp_path / "labels/deep/two.png", tmp_path / "labels/one.png"]
    image, label = dataset.read_pair(dataset.samples[0])
    assert image.shape == (4, 6, 3)
    assert label.dtype == np.uint8
    assert np.unique(label).tolist() == [0, 7, 254, 255]


def test_folder_of_labels_inside_the_images_or_elsewhere(tmp_path: Path) -> None:
    write_image(tmp_path / "photos/a.png")
    write_label(tmp_path / "photos/labels/a.png")
    write_label(tmp_path / "elsewhere/a.png")
    inside = open_dataset(tmp_path / "photos")
    assert keys(inside) == ["a"]
    assert inside.samples[0].label == tmp_path / "photos/labels/a.png"
    outside = open_dataset(tmp_path / "photos", labels=tmp_path / "elsewhere", layout="folder")
    assert outside.labelled[0].label == tmp_path / "elsewhere/a.png"


def test_folder_where_only_some_have_labels(tmp_path: Path) -> None:
    for name in "abc":
        write_image(tmp_path / f"images/{name}.png")
    write_label(tmp_path / "labels/b.png")
    dataset = open_dataset(tmp_path)
    assert len(dataset) == 3
    assert [sample.key for sample in dataset.labelled] == ["b"]


def test_folder_where_no_image_has_its_label(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png")
    write_label(tmp_path / "labels/other.png")
    with pytest.raises(StegoError) as error:
        open_dataset(tmp_path)
    assert "no label found for any of 1 images" in message(error)
    assert str(tmp_path / "labels/a.png") in message(error)


def test_equal_stems_keep_their_suffix_in_the_key(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "b.png"):
        write_image(tmp_path / "images" / name)
    for name in ("a.jpg.png", "a.png.png", "b.png"):
        write_label(tmp_path / "labels" / name)
    dataset = open_dataset(tmp_path)
    assert keys(dataset) == ["a.jpg", "a.png", "b"]
    assert [sample.label.name for sample in dataset.labelled if sample.label] == ["a.jpg.png", "a.png.png", "b.png"]


def test_meta_names_classes_and_void(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png")
    write_label(tmp_path / "labels/a.png", [0, 1, 9, 255])
    (tmp_path / "meta.json").write_text(json.dumps({"classes": ["sky", "grass"], "void": 9}))
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ("sky", "grass")
    assert np.unique(dataset.read_label(dataset.samples[0])).tolist() == [0, 1, 255]


@pytest.mark.parametrize(
    ("meta", "reason"),
    [
        ("{", "not readable as JSON"),
        ('{"classes": "sky"}', "classes: expected a list"),
        ('{"classes": []}', "classes:"),
        ('{"classes": ["a"], "void": 300}', "void:"),
    ],
)
def test_damaged_meta(tmp_path: Path, meta: str, reason: str) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "meta.json").write_text(meta)
    with pytest.raises(StegoError) as error:
        open_dataset(tmp_path)
    assert message(error).startswith(f"{tmp_path / 'meta.json'}: ")
    assert reason in message(error)


def test_folder_split(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_image(tmp_path / f"images/{split}/a.png")
        write_label(tmp_path / f"labels/{split}/a.png")
    assert keys(open_dataset(tmp_path)) == ["train/a", "val/a"]
    assert keys(open_dataset(tmp_path, split="val")) == ["val/a"]
    with pytest.raises(StegoError, match="no split 'test'"):
        open_dataset(tmp_path, split="test")


def test_label_of_another_size(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png", (4, 6))
    write_label(tmp_path / "labels/a.png", size=(5, 6))
    dataset = open_dataset(tmp_path)
    with pytest.raises(StegoError) as error:
        dataset.read_pair(dataset.samples[0])
    assert message(error) == f"{tmp_path / 'labels/a.png'}: label is 6 × 5; expected 6 × 4, the size of its image"


def test_label_with_unknown_values_names_file_and_values(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png")
    write_label(tmp_path / "labels/a.png", [0, 1, 2, 77, 255])
    (tmp_path / "meta.json").write_text('{"classes": ["sky", "grass"]}')
    dataset = open_dataset(tmp_path)
    with pytest.raises(StegoError) as error:
        dataset.read_label(dataset.samples[0])
    assert message(error) == f"{tmp_path / 'labels/a.png'}: unknown label values 2, 77; expected 0 to 1, or 255 for void"


def test_16_bit_labels_are_read_and_values_above_255_are_unknown(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png")
    (tmp_path / "labels").mkdir()
    for worst, good in ((12, True), (300, False)):
        Image.fromarray(np.resize(np.array([0, worst, 255], dtype=np.uint16), SIZE)).save(tmp_path / "labels/a.png")
        dataset = open_dataset(tmp_path)
        if good:
            assert np.unique(dataset.read_label(dataset.samples[0])).tolist() == [0, 12, 255]
        else:
            with pytest.raises(StegoError, match="unknown label values 300; expected 0 to 254"):
                dataset.read_label(dataset.samples[0])


def test_palette_label_gives_indices_not_colours(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png")
    label = Image.fromarray(np.resize(np.array([0, 1, 2, 255], dtype=np.uint8), SIZE))
    label.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255] + [9] * 759)
    (tmp_path / "labels").mkdir()
    label.save(tmp_path / "labels/a.png")
    dataset = open_dataset(tmp_path)
    assert np.unique(dataset.read_label(dataset.samples[0])).tolist() == [0, 1, 2, 255]


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_unreadable_label(tmp_path: Path, content: bytes | None) -> None:
    write_image(tmp_path / "images/a.png")
    (tmp_path / "labels").mkdir()
    if content is None:
        write_image(tmp_path / "labels/a.png")  # a colour picture
    else:
        (tmp_path / "labels/a.png").write_bytes(content)
    dataset = open_dataset(tmp_path)
    with pytest.raises(StegoError) as error:
        dataset.read_label(dataset.samples[0])
    assert message(error).startswith(f"{tmp_path / 'labels/a.png'}: ")


def test_rule_against_a_naive_loop() -> None:
    rule = LabelRule.of({3: 0, 9: 1}, void=(0, 255), expected="…")
    values = np.random.default_rng(0).choice([0, 3, 9, 255], (20, 30))
    expected = [[{3: 0, 9: 1, 0: 255, 255: 255}[int(value)] for value in row] for row in values]
    np.testing.assert_array_equal(rule.apply(values, Path("x")), expected)
    for worst in (-1, 4, 256, 10_000):
        with pytest.raises(StegoError, match=f"x: unknown label values {worst};"):
            rule.apply(np.array([[3, worst]]), Path("x"))


def test_labels_inside_the_images_are_no_images_however_their_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "masks/a"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 9), np.uint8)).save(tmp_path / "photos" / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    for root, labels in (("photos", tmp_path / "photos/masks"), (tmp_path / "photos", "photos/masks"), ("photos", "photos/../photos/masks")):
        dataset = open_dataset(Path(root), labels=Path(labels))
        assert [sample.key for sample in dataset.samples] == ["a"]
