"""Cityscapes-27 in its published layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import StegoError
from stego_app.data import cityscapes27, open_dataset
from tests.stego_app.data.layout_parts import keys, message, write_image, write_label


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
