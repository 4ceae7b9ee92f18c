"""CamVid in its two published layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import StegoError
from stego_app.data import open_dataset
from tests.stego_app.data.layout_parts import camvid_tree, keys, message, write_image, write_label


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
