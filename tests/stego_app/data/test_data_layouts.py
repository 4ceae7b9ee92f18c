"""Small trees in each published layout, read with the published class mappings, and every way they can be wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy.io import savemat

from models.errors import StegoError
from stego_app.data import LAYOUTS, Dataset, LabelRule, camvid, cityscapes27, cocostuff27, open_dataset, potsdam3

SIZE = (4, 6)


def write_image(path: Path, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 90, dtype=np.uint8)).save(path)
    return path


def write_label(path: Path, values: Sequence[int] = (0,), size: tuple[int, int] = SIZE) -> Path:
    """A label picture that holds ``values`` over and over, row by row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.resize(np.array(values, dtype=np.uint8), size)).save(path)
    return path


def keys(dataset: Dataset) -> list[str]:
    return [sample.key for sample in dataset.samples]


def mapping_of(dataset: Dataset) -> dict[int, int]:
    return {value: int(label) for value, label in enumerate(dataset.rule.table) if label >= 0}


def message(error: pytest.ExceptionInfo[StegoError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


# Plain folder ------------------------------------------------------------------------------------------------------


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


# Wrong labels ------------------------------------------------------------------------------------------------------


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


# CamVid ------------------------------------------------------------------------------------------------------------


def camvid_tree(root: Path, *, segnet: bool) -> None:
    for split, frame in (("train", "0001TP_006690"), ("train", "0016E5_00390"), ("val", "Seq05VD_f00000")):
        write_image(root / (f"{split}/{frame}.png" if segnet else f"images/{split}/{frame}.jpg"))
        write_label(root / (f"{split}annot/{frame}.png" if segnet else f"labels/{split}/{frame}.png"), [*range(11), 11 if segnet else 255])


@pytest.mark.parametrize("segnet", [True, False])
def test_camvid(tmp_path: Path, segnet: bool) -> None:
    camvid_tree(tmp_path, segnet=segnet)
    dataset = open_dataset(tmp_path)
    assert dataset.name == "CamVid all"
    assert keys(dataset) == ["train/0001TP_006690", "train/0016E5_00390", "val/Seq05VD_f00000"]
    assert keys(open_dataset(tmp_path, split="val")) == ["val/Seq05VD_f00000"]
    assert keys(open_dataset(tmp_path, split="val+train"))[0] == "val/Seq05VD_f00000"
    assert dataset.class_names is not None
    assert len(dataset.class_names) == 11
    _, label = dataset.read_pair(dataset.samples[0])
    assert np.unique(label).tolist() == [*range(11), 255]


def test_camvid_needs_each_label(tmp_path: Path) -> None:
    camvid_tree(tmp_path, segnet=True)
    (tmp_path / "trainannot/0016E5_00390.png").unlink()
    with pytest.raises(StegoError) as error:
        open_dataset(tmp_path, split="train")
    assert message(error) == f"{tmp_path / 'trainannot/0016E5_00390.png'}: no such label file; 1 of 2 images have none"


def test_other_sets_with_the_same_folders_are_not_taken_for_camvid(tmp_path: Path) -> None:
    write_image(tmp_path / "images/train/cat.png")
    write_label(tmp_path / "labels/train/cat.png")
    assert open_dataset(tmp_path).class_names is None


# COCO-Stuff --------------------------------------------------------------------------------------------------------


def coco_tree(root: Path) -> None:
    for split, number, values in (("train2017", 9, range(92)), ("val2017", 139, range(92, 182)), ("val2017", 285, [0, 255])):
        write_image(root / f"images/{split}/{number:012}.jpg", (10, 12))
        write_label(root / f"annotations/{split}/{number:012}.png", list(values), (10, 12))


def test_cocostuff27(tmp_path: Path) -> None:
    coco_tree(tmp_path)
    dataset = open_dataset(tmp_path)
    assert dataset.name == "COCO-Stuff-27 all"
    assert keys(dataset) == ["train2017/000000000009", "val2017/000000000139", "val2017/000000000285"]
    assert keys(open_dataset(tmp_path, split="train")) == keys(open_dataset(tmp_path, split="train2017")) == ["train2017/000000000009"]
    classes = {int(label) for sample in dataset.samples for label in np.unique(dataset.read_label(sample))}
    assert classes == {*range(27), 255}


def test_cocostuff27_curated_list_is_used_where_it_is(tmp_path: Path) -> None:
    coco_tree(tmp_path)
    curated = tmp_path / "curated/val2017/Coco164kFull_Stuff_Coarse_7.txt"
    curated.parent.mkdir(parents=True)
    curated.write_text("000000000285\n\n")
    assert keys(open_dataset(tmp_path, split="val")) == ["val2017/000000000285"]
    curated.write_text("000000000285\n000000000999\n")
    with pytest.raises(StegoError) as error:
        open_dataset(tmp_path, split="val")
    assert "000000000999.jpg: no such image" in message(error)
    curated.write_text("\n")
    with pytest.raises(StegoError, match="lists no images"):
        open_dataset(tmp_path, split="val")
    curated.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StegoError, match="cannot be read as a list"):
        open_dataset(tmp_path, split="val")


COCO_EXAMPLES: Mapping[str, str] = {
    # label id of labels.txt (1 to 182; the maps store one less) and its name: the super-category it is listed under
    "1 person": "person",
    "2 bicycle": "vehicle",
    "9 boat": "vehicle",
    "10 traffic light": "outdoor",
    "15 bench": "outdoor",
    "16 bird": "animal",
    "25 giraffe": "animal",
    "27 backpack": "accessory",
    "33 suitcase": "accessory",
    "34 frisbee": "sports",
    "43 tennis racket": "sports",
    "44 bottle": "kitchen",
    "51 bowl": "kitchen",
    "52 banana": "food",
    "61 cake": "food",
    "62 chair": "furniture",
    "70 toilet": "furniture",
    "72 tv": "electronic",
    "77 cell phone": "electronic",
    "78 microwave": "appliance",
    "82 refrigerator": "appliance",
    "84 book": "indoor",
    "90 toothbrush": "indoor",
    "92 banner": "textile",
    "94 branch": "plant",
    "95 bridge": "building",
    "98 cabinet": "furniture stuff",
    "99 cage": "structural",
    "100 cardboard": "raw material",
    "101 carpet": "floor",
    "103 ceiling-tile": "ceiling",
    "106 clouds": "sky",
    "111 dirt": "ground",
    "112 door-stuff": "furniture stuff",
    "113 fence": "structural",
    "118 floor-wood": "floor",
    "119 flower": "plant",
    "120 fog": "water",
    "121 food-other": "food stuff",
    "124 grass": "plant",
    "127 hill": "solid",
    "130 light": "furniture stuff",
    "138 net": "structural",
    "139 paper": "raw material",
    "149 road": "ground",
    "151 roof": "building",
    "152 rug": "textile",
    "154 sand": "ground",
    "155 sea": "water",
    "157 sky-other": "sky",
    "159 snow": "ground",
    "161 stairs": "furniture stuff",
    "163 straw": "plant",
    "166 tent": "building",
    "169 tree": "plant",
    "170 vegetable": "food stuff",
    "171 wall-brick": "wall",
    "177 wall-wood": "wall",
    "178 water-other": "water",
    "180 window-blind": "window",
    "182 wood": "solid",
}


def test_cocostuff27_mapping_is_complete_and_follows_the_hierarchy(tmp_path: Path) -> None:
    coco_tree(tmp_path)
    dataset = open_dataset(tmp_path)
    mapping = mapping_of(dataset)
    assert mapping.pop(255) == 255
    assert sorted(mapping) == list(range(182))
    assert set(mapping.values()) == set(range(27))
    assert dataset.class_names == cocostuff27.CLASSES
    for example, coarse in COCO_EXAMPLES.items():
        number = int(example.split()[0])
        assert cocostuff27.CLASSES[mapping[number - 1]] == coarse, example
    assert cocostuff27.CLASSES.index("ceiling") == 12  # twelve things, then fifteen kinds of stuff


# Cityscapes --------------------------------------------------------------------------------------------------------


def cityscapes_tree(root: Path, *, labels: bool = True) -> None:
    for split, city in (("train", "aachen"), ("val", "munster"), ("val", "lindau")):
        stem = f"{split}/{city}/{city}_000000_000019"
        write_image(root / f"leftImg8bit/{stem}_leftImg8bit.png", (5, 8))
        if labels:
            write_label(root / f"gtFine/{stem}_gtFine_labelIds.png", [*range(34), 255], (5, 8))
            write_image(root / f"gtFine/{stem}_gtFine_color.png", (5, 8))


def test_cityscapes27(tmp_path: Path) -> None:
    cityscapes_tree(tmp_path)
    dataset = open_dataset(tmp_path)
    assert dataset.name == "Cityscapes-27 all"
    assert keys(open_dataset(tmp_path, split="val")) == ["val/lindau/lindau_000000_000019", "val/munster/munster_000000_000019"]
    _, label = dataset.read_pair(dataset.samples[0])
    expected = [255 if value < 7 or value == 255 else value - 7 for value in np.resize([*range(34), 255], 40)]
    np.testing.assert_array_equal(label.ravel(), expected)
    names = dict(zip(range(7, 34), cityscapes27.CLASSES, strict=True))
    known = {7: "road", 8: "sidewalk", 11: "building", 17: "pole", 19: "traffic light", 21: "vegetation", 23: "sky", 24: "person", 26: "car", 33: "bicycle"}
    assert {value: names[value] for value in known} == known


def test_cityscapes_without_labels_or_with_some_missing(tmp_path: Path) -> None:
    cityscapes_tree(tmp_path, labels=False)
    assert open_dataset(tmp_path).labelled == []
    write_label(tmp_path / "gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png")
    with pytest.raises(StegoError) as error:
        open_dataset(tmp_path, split="val")
    assert "munster_000000_000019_gtFine_labelIds.png: no such label file" in message(error)


# Potsdam -----------------------------------------------------------------------------------------------------------


def potsdam_tree(root: Path, kind: str = ".mat") -> npt.NDArray[np.uint8]:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 4), dtype=np.uint8)
    fine = np.resize(np.array([0, 1, 2, 3, 4, 5, 255], dtype=np.uint8), (4, 6))
    for folder in ("imgs", "gt"):
        (root / folder).mkdir(parents=True)
    for number in range(4):
        if kind == ".mat":
            savemat(root / f"imgs/{number}.mat", {"img": pixels})
            if number != 3:
                savemat(root / f"gt/{number}.mat", {"gt": fine})
        else:
            Image.fromarray(pixels[..., :3]).save(root / f"imgs/{number}{kind}")
            if number != 3:
                Image.fromarray(fine).save(root / f"gt/{number}{kind}")
    for name, ids in {"labelled_train": "0\n1\n", "labelled_test": "2\n", "unlabelled_train": "0\n3\n", "all": "0\n1\n2\n3\n"}.items():
        (root / f"{name}.txt").write_text(ids)
    return pixels[..., :3]


@pytest.mark.parametrize("kind", [".mat", ".tif", ".png"])
def test_potsdam3(tmp_path: Path, kind: str) -> None:
    pixels = potsdam_tree(tmp_path, kind)
    dataset = open_dataset(tmp_path, split="train")
    assert dataset.name == "Potsdam-3 train"
    assert keys(dataset) == ["0", "1"]
    image, label = dataset.read_pair(dataset.samples[0])
    np.testing.assert_array_equal(image, pixels)
    coarse = {0: 0, 1: 1, 2: 2, 3: 2, 4: 0, 5: 1, 255: 255}
    np.testing.assert_array_equal(label.ravel(), [coarse[int(value)] for value in np.resize([0, 1, 2, 3, 4, 5, 255], 24)])
    assert keys(open_dataset(tmp_path, split="val")) == ["2"]
    assert keys(open_dataset(tmp_path, split="train+val")) == ["0", "1", "2"]
    assert [sample.label is None for sample in open_dataset(tmp_path, split="unlabelled_train").samples] == [False, True]
    assert len(open_dataset(tmp_path)) == 4


def test_potsdam_without_lists_takes_every_tile(tmp_path: Path) -> None:
    potsdam_tree(tmp_path)
    for path in tmp_path.glob("*.txt"):
        path.unlink()
    assert keys(open_dataset(tmp_path)) == ["0", "1", "2", "3"]
    with pytest.raises(StegoError, match="no split"):
        open_dataset(tmp_path, split="train")


def test_potsdam_labels_in_the_published_colours(tmp_path: Path) -> None:
    potsdam_tree(tmp_path, ".png")
    tile = np.array([[[255, 255, 255], [0, 0, 255], [0, 255, 255]], [[0, 255, 0], [255, 255, 0], [255, 0, 0]]], dtype=np.uint8)
    Image.fromarray(tile).save(tmp_path / "gt/0.png")
    dataset = open_dataset(tmp_path, split="train")
    np.testing.assert_array_equal(dataset.read_label(dataset.samples[0]), [[0, 1, 2], [2, 0, 1]])
    tile[0, 0] = (1, 2, 3)
    Image.fromarray(tile).save(tmp_path / "gt/0.png")
    with pytest.raises(StegoError) as error:
        dataset.read_label(dataset.samples[0])
    assert "unknown label colours #010203" in message(error)


def test_potsdam_missing_image_and_label(tmp_path: Path) -> None:
    potsdam_tree(tmp_path)
    (tmp_path / "labelled_test.txt").write_text("2\n77\n")
    with pytest.raises(StegoError) as error:
        open_dataset(tmp_path, split="val")
    assert message(error) == f"{tmp_path / 'imgs/77'}.mat: no such image (nor .tif or .png)"
    (tmp_path / "gt/1.mat").unlink()
    with pytest.raises(StegoError) as error:
        open_dataset(tmp_path, split="train")
    assert message(error) == f"{tmp_path / 'gt/1'}.mat: no such label file (nor .tif or .png)"


def test_potsdam_damaged_mat_files(tmp_path: Path) -> None:
    potsdam_tree(tmp_path)
    dataset = open_dataset(tmp_path, split="train")
    path = tmp_path / "imgs/0.mat"
    whole = path.read_bytes()
    for content in (b"", b"no MATLAB file " * 40, whole[: len(whole) // 2], b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF" * 99):
        path.write_bytes(content)
        with pytest.raises(StegoError) as error:
            dataset.read_image(dataset.samples[0])
        assert message(error).startswith(f"{path}: ")
    savemat(path, {"other": np.zeros((2, 2))})
    with pytest.raises(StegoError, match="holds no array 'img'"):
        dataset.read_image(dataset.samples[0])
    savemat(path, {"img": np.zeros((2, 2))})
    with pytest.raises(StegoError, match=r"img is \(2, 2\) of float64; expected \(height, width, 3 or 4\) of uint8"):
        dataset.read_image(dataset.samples[0])
    savemat(tmp_path / "gt/0.mat", {"gt": np.zeros((2, 2))})
    with pytest.raises(StegoError, match=r"gt is \(2, 2\) of float64"):
        dataset.read_label(dataset.samples[0])


# The way in --------------------------------------------------------------------------------------------------------


def test_unknown_layout_missing_folder_file_and_empty(tmp_path: Path) -> None:
    with pytest.raises(StegoError) as error:
        open_dataset(tmp_path, layout="ade20k")
    assert message(error) == f"layout 'ade20k': expected auto, {', '.join(LAYOUTS)}"
    with pytest.raises(StegoError, match="no such folder"):
        open_dataset(tmp_path / "absent")
    file = write_image(tmp_path / "a.png")
    with pytest.raises(StegoError, match="is a file; expected a folder"):
        open_dataset(file)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StegoError, match="no images found; looked for"):
        open_dataset(tmp_path / "empty")


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "folder"])
def test_named_layout_that_does_not_fit(tmp_path: Path, layout: str) -> None:
    write_image(tmp_path / "a.png")
    with pytest.raises(StegoError) as error:
        open_dataset(tmp_path, layout=layout)
    assert message(error).startswith(f"{tmp_path}: not in ")
    assert "expected" in message(error)


def test_labels_go_with_the_plain_folder_only(tmp_path: Path) -> None:
    camvid_tree(tmp_path, segnet=True)
    with pytest.raises(StegoError, match="has its own labels"):
        open_dataset(tmp_path, layout="camvid", labels=tmp_path)
    with pytest.raises(StegoError, match="no such folder of labels"):
        open_dataset(tmp_path, labels=tmp_path / "absent")


def test_unknown_split_names_those_that_exist(tmp_path: Path) -> None:
    camvid_tree(tmp_path, segnet=True)
    with pytest.raises(StegoError) as error:
        open_dataset(tmp_path, split="test")
    assert message(error) == f"{tmp_path}: no split 'test'; expected one of train, val"


def test_number_of_classes_in_each_layout() -> None:
    assert [len(module.CLASSES) for module in (camvid, cocostuff27, cityscapes27, potsdam3)] == [11, 27, 27, 3]


def test_labels_inside_the_images_are_no_images_however_their_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "masks/a"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 9), np.uint8)).save(tmp_path / "photos" / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    for root, labels in (("photos", tmp_path / "photos/masks"), (tmp_path / "photos", "photos/masks"), ("photos", "photos/../photos/masks")):
        dataset = open_dataset(Path(root), labels=Path(labels))
        assert [sample.key for sample in dataset.samples] == ["a"]
