"""The readers on copies that look as the published data sets do: names, pairs, list files, label values."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from published_trees import CURATED, cityscapes_tree, coco_tree, potsdam_tree
from scipy.io import loadmat, savemat

from models.errors import StegoError
from stego_app.data import Dataset, open_dataset


def message(error: pytest.ExceptionInfo[StegoError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def relabel(path: Path, value: int) -> None:
    """Write ``value`` into the upper left pixel of a label PNG."""
    label = np.array(Image.open(path))
    label[0, 0] = value
    Image.fromarray(label).save(path)


def first_label(dataset: Dataset) -> Path:
    label = dataset.samples[0].label
    assert label is not None
    return label


@pytest.mark.parametrize(("tree", "layout"), [(coco_tree, "cocostuff27"), (cityscapes_tree, "cityscapes27"), (potsdam_tree, "potsdam3")])
def test_each_copy_is_recognised_and_every_pair_is_read(tree: Callable[[Path], Path], layout: str, tmp_path: Path) -> None:
    tree(tmp_path)
    for split in ("train", "val"):
        named, recognised = open_dataset(tmp_path, split=split, layout=layout), open_dataset(tmp_path, split=split)
        assert named.samples == recognised.samples
        assert len(named.labelled) == len(named) > 0
        for sample in named.samples:
            image, label = named.read_pair(sample)
            assert image.shape == (*label.shape, 3)
            assert set(np.unique(label)) <= {*range(len(named.class_names or ())), 255}
    assert not {sample.key for sample in open_dataset(tmp_path, split="train").samples} & {sample.key for sample in open_dataset(tmp_path, split="val").samples}


def test_a_split_may_be_thinned_evenly(tmp_path: Path) -> None:
    cityscapes_tree(tmp_path, train=9)
    whole, some = open_dataset(tmp_path, split="train"), open_dataset(tmp_path, split="train@3")
    assert [sample.key for sample in some.samples] == [whole.samples[index].key for index in (0, 4, 8)]
    assert some.name == "Cityscapes-27 train, 3 of 9 images"
    assert open_dataset(tmp_path, split="train@99").samples == whole.samples
    assert type(open_dataset(potsdam_tree(tmp_path / "p"), split="train@2")).__name__ == "PotsdamDataset"
    with pytest.raises(StegoError, match="0 images of the split; expected 1 or more after '@'"):
        open_dataset(tmp_path, split="train@0")
    with pytest.raises(StegoError, match="no split 'nowhere'"):
        open_dataset(tmp_path, split="nowhere@3")


# COCO-Stuff --------------------------------------------------------------------------------------------------------


def test_coco_keeps_to_the_curated_list_and_reads_grey_images(tmp_path: Path) -> None:
    coco_tree(tmp_path)
    grey = tmp_path / "images/val2017/000000000137.jpg"
    Image.open(grey).convert("L").save(grey)
    dataset = open_dataset(tmp_path, split="val")
    assert [sample.key for sample in dataset.samples] == [f"val2017/{number:012}" for number in (137, 267, 397)]
    image, label = dataset.read_pair(dataset.samples[0])
    assert image.shape == (48, 64, 3)
    names = dict(enumerate(dataset.class_names or ()))
    assert {names[int(value)] for value in np.unique(label) if value != 255} == {"sky", "plant", "wall"}
    assert (label[0] == 255).all()


def test_coco_with_windows_line_ends_in_the_list(tmp_path: Path) -> None:
    coco_tree(tmp_path)
    listed = tmp_path / "curated/val2017" / CURATED
    listed.write_bytes(listed.read_bytes().replace(b"\n", b"\r\n"))
    assert len(open_dataset(tmp_path, split="val")) == 3


def test_coco_with_label_maps_in_stuffthingmaps_beside_cocos_json(tmp_path: Path) -> None:
    coco_tree(tmp_path)
    (tmp_path / "annotations").rename(tmp_path / "stuffthingmaps")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_val2017.json").write_text(json.dumps({}))
    dataset = open_dataset(tmp_path, split="val")
    assert len(dataset.labelled) == 3
    assert first_label(dataset).parent == tmp_path / "stuffthingmaps/val2017"


def test_coco_pairs_that_are_missing(tmp_path: Path) -> None:
    coco_tree(tmp_path)
    label = tmp_path / "annotations/val2017/000000000267.png"
    label.unlink()
    with pytest.raises(StegoError) as error:
        open_dataset(tmp_path, split="val")
    assert message(error) == f"{label}: no such label file; 1 of 3 images have none"
    image = tmp_path / "images/train2017/000000000267.jpg"
    image.unlink()
    with pytest.raises(StegoError) as error:
        open_dataset(tmp_path, split="train")
    assert message(error).startswith(f"{image}: no such image; ")


@pytest.mark.parametrize("value", [182, 183, 254])
def test_coco_values_outside_the_mapping(value: int, tmp_path: Path) -> None:
    """183 is COCO-Stuff's "other" of the annotations for stuff alone, which are not the ones published numbers use."""
    dataset = open_dataset(coco_tree(tmp_path), split="val")
    relabel(first_label(dataset), value)
    with pytest.raises(StegoError) as error:
        dataset.read_pair(dataset.samples[0])
    assert message(error) == f"{first_label(dataset)}: unknown label values {value}; expected 0 to 181, or 255 for void"


# Cityscapes --------------------------------------------------------------------------------------------------------


def test_cityscapes_takes_label_ids_and_voids_what_is_void(tmp_path: Path) -> None:
    dataset = open_dataset(cityscapes_tree(tmp_path), split="val")
    assert first_label(dataset).name == "lindau_000000_000019_gtFine_labelIds.png"
    _, label = dataset.read_pair(dataset.samples[0])
    names = dict(enumerate(dataset.class_names or ()))
    assert {names[int(value)] for value in np.unique(label) if value != 255} == {"sky", "road", "car"}
    assert (label[0] == 255).all()  # ego vehicle
    assert (label[-2:] == 255).all()  # stored for -1


def test_cityscapes_other_files_of_the_annotation_do_not_matter(tmp_path: Path) -> None:
    cityscapes_tree(tmp_path)
    for path in tmp_path.glob("gtFine/*/*/*"):
        if not path.name.endswith("_gtFine_labelIds.png"):
            path.unlink()
    assert len(open_dataset(tmp_path, split="train").labelled) == 6


def test_cityscapes_with_only_train_ids_is_refused(tmp_path: Path) -> None:
    """Train ids (0 to 18) would be taken for other classes, so they are not read in place of label ids."""
    cityscapes_tree(tmp_path)
    for path in list(tmp_path.glob("gtFine/val/*/*_gtFine_labelIds.png")):
        path.rename(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
    with pytest.raises(StegoError) as error:
        open_dataset(tmp_path, split="val")
    assert message(error) == f"{tmp_path / 'gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png'}: no such label file; 4 of 4 images have none"


def test_cityscapes_extra_images_have_no_fine_labels(tmp_path: Path) -> None:
    cityscapes_tree(tmp_path)
    shutil.copytree(tmp_path / "leftImg8bit/val", tmp_path / "leftImg8bit/train_extra")
    assert open_dataset(tmp_path, split="train_extra").labelled == []
    assert len(open_dataset(tmp_path, split="train+val").labelled) == 10


@pytest.mark.parametrize("value", [34, 200])
def test_cityscapes_values_outside_the_mapping(value: int, tmp_path: Path) -> None:
    dataset = open_dataset(cityscapes_tree(tmp_path), split="val")
    relabel(first_label(dataset), value)
    with pytest.raises(StegoError) as error:
        dataset.read_pair(dataset.samples[0])
    assert message(error) == f"{first_label(dataset)}: unknown label values {value}; expected label ids 0 to 33, or 255 for -1"


# Potsdam -----------------------------------------------------------------------------------------------------------


def test_potsdam_tiles_lose_infrared_and_keep_the_order_of_the_list(tmp_path: Path) -> None:
    dataset = open_dataset(potsdam_tree(tmp_path), split="val")
    assert [sample.key for sample in dataset.samples] == (tmp_path / "labelled_test.txt").read_text().split()
    image, label = dataset.read_pair(dataset.samples[0])
    stored = loadmat(dataset.samples[0].image)["img"]
    assert stored.shape == (50, 50, 4)
    np.testing.assert_array_equal(image, stored[..., :3])
    fine = loadmat(first_label(dataset))["gt"]
    assert fine.dtype == np.int32
    np.testing.assert_array_equal(label, np.array([0, 1, 2, 2, 0, 1])[fine])


def test_potsdam_without_labels_where_none_are_expected(tmp_path: Path) -> None:
    potsdam_tree(tmp_path)
    assert open_dataset(tmp_path, split="unlabelled_train").labelled == []
    everything = open_dataset(tmp_path)
    assert (len(everything), len(everything.labelled)) == (12, 10)


@pytest.mark.parametrize("value", [6, 254, -1, 300])
def test_potsdam_values_outside_the_mapping(value: int, tmp_path: Path) -> None:
    dataset = open_dataset(potsdam_tree(tmp_path), split="val")
    fine = loadmat(first_label(dataset))["gt"]
    fine[0, 0] = value
    savemat(first_label(dataset), {"gt": fine})
    with pytest.raises(StegoError) as error:
        dataset.read_pair(dataset.samples[0])
    assert message(error) == f"{first_label(dataset)}: unknown label values {value}; expected 0 to 5, or 255 for void"


def test_potsdam_void_is_not_scored(tmp_path: Path) -> None:
    dataset = open_dataset(potsdam_tree(tmp_path), split="val")
    fine = loadmat(first_label(dataset))["gt"]
    fine[0, 0] = 255
    savemat(first_label(dataset), {"gt": fine})
    assert dataset.read_label(dataset.samples[0])[0, 0] == 255


def test_potsdam_label_pictures_off_the_palette(tmp_path: Path) -> None:
    """As ISPRS's files 4_12 (stored with losses) and 6_7 (cars in 252, 255, 0) are."""
    potsdam_tree(tmp_path)
    id_ = (tmp_path / "labelled_test.txt").read_text().split()[0]
    (tmp_path / f"gt/{id_}.mat").unlink()
    colours = np.array([[(252, 255, 0), (9, 222, 221), (225, 227, 227), (0, 0, 255), (254, 3, 1), (20, 250, 9)]], dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / f"gt/{id_}.png")
    dataset = open_dataset(tmp_path, split="val")
    np.testing.assert_array_equal(dataset.read_label(dataset.samples[0]), [[0, 2, 0, 1, 1, 2]])
    colours[0, 2] = (250, 9, 251)
    Image.fromarray(colours).save(tmp_path / f"gt/{id_}.png")
    with pytest.raises(StegoError, match="unknown label colours #fa09fb; expected #ffffff, #0000ff"):
        dataset.read_label(dataset.samples[0])
