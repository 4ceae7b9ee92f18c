"""Choosing a layout and a split: what is said where they do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import StegoError
from stego_app.data import LAYOUTS, camvid, cityscapes27, cocostuff27, open_dataset, potsdam3
from tests.stego_app.data.layout_parts import camvid_tree, message, write_image


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
