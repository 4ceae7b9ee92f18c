"""COCO-Stuff-27 in its published layout, with its curated list and the mapping of its labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from models.errors import StegoError
from stego_app.data import cocostuff27, open_dataset
from tests.stego_app.data.layout_parts import keys, mapping_of, message, write_image, write_label


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
