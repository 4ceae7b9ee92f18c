"""Unpacking, the check of each layout, and Potsdam's tiles from its large images."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from published_trees import CURATED, cityscapes_tree, coco_archives, coco_tree, potsdam_tree, scene
from scipy.io import loadmat

from benchmarks.published import potsdam_tiles
from benchmarks.published.data import layout_problems, open_splits, prepare_data
from benchmarks.published.potsdam_tiles import LABELLED, cut_tiles, fine_values
from benchmarks.published.recipes import BACKBONES, DATASETS, Download, Files, ListFile, Recipe, Unpack, load_recipe, published_rows
from benchmarks.published.unpack import unpack
from models.errors import StegoError
from stego_app.data import open_dataset
from stego_app.data.potsdam3 import COLOURS
from stego_app.training.shifts import PUBLISHED

TREES = {"cocostuff27": coco_tree, "cityscapes27": cityscapes_tree, "potsdam3": potsdam_tree}


def message(error: pytest.ExceptionInfo[StegoError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def tiny(name: str, **changes: Any) -> Recipe:
    """The recipe with the numbers of files of the tiny trees (6 and 4 images, the first of COCO's not curated)."""
    recipe = load_recipe(name)
    files = [item.model_copy(update={"count": {118287: 6, 5000: 4, 2975: 6, 500: 4, 8550: 12, 5400: 10}[item.count]}) for item in recipe.files]
    lists = [item.model_copy(update={"lines": {49629: 5, 2175: 3, 4545: 6, 855: 4}[item.lines]}) for item in recipe.lists]
    return recipe.model_copy(update={"files": tuple(files), "lists": tuple(lists), **changes})


# Recipes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DATASETS)
def test_each_recipe_fits_its_reader_and_the_published_shifts(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert (recipe.name, recipe.layout) == (name, name)
    train, val = open_splits(recipe, TREES[name](tmp_path), None, None)
    assert len(train.class_names or ()) == recipe.classes
    assert len(train) > len(val) > 0
    for backbone in BACKBONES.values():
        assert recipe.stego.shifts_for(backbone) in PUBLISHED
    assert published_rows(name)
    assert recipe.how


def test_published_shifts_by_size_of_the_backbone() -> None:
    chosen = {(name, short): load_recipe(name).stego.shifts_for(backbone) for name in DATASETS for short, backbone in BACKBONES.items()}
    assert chosen["cocostuff27", "vit-s8"] == chosen["cocostuff27", "dinov2-s14"] == "cocostuff-s"
    assert chosen["cocostuff27", "vit-b8"] == chosen["cocostuff27", "dinov2-b14"] == "cocostuff"
    assert {chosen["cityscapes27", short] for short in BACKBONES} == {"cityscapes"}
    assert {chosen["potsdam3", short] for short in BACKBONES} == {"potsdam"}


def test_the_anchor_rows_are_the_published_ones() -> None:
    rows = {(row.dataset, row.method, row.backbone): (row.accuracy, row.miou) for name in DATASETS for row in published_rows(name)}
    assert rows["cocostuff27", "CAUSE-TR", "DINOv2 ViT-B/14"] == (78.0, 45.3)
    assert rows["cityscapes27", "STEGO", "DINO ViT-B/8"] == (73.2, 21.0)
    assert rows["potsdam3", "STEGO", "DINO ViT-S/8"] == (77.0, 62.6)
    assert rows["potsdam3", "EQUSS", "–"] == (82.0, None)


def test_wrong_recipes(tmp_path: Path) -> None:
    with pytest.raises(StegoError, match="recipe 'ade20k': expected cocostuff27, cityscapes27, potsdam3, or a TOML file"):
        load_recipe("ade20k")
    with pytest.raises(StegoError, match="no such recipe file"):
        load_recipe(str(tmp_path / "absent.toml"))
    path = tmp_path / "own.toml"
    path.write_text("name = [")
    with pytest.raises(StegoError, match="not a readable TOML file"):
        load_recipe(str(path))
    path.write_text('name = "own"\ncolour = "red"')
    with pytest.raises(StegoError, match=r"own.toml: '"):
        load_recipe(str(path))


# Unpacking ---------------------------------------------------------------------------------------------------------


def test_archives_go_into_the_published_layout_and_only_what_is_missing_is_written(tmp_path: Path) -> None:
    tree = coco_tree(tmp_path / "tree")
    archives = coco_archives(tree, tmp_path / "archives")
    root = tmp_path / "data"
    for download in load_recipe("cocostuff27").downloads:
        unpack(archives / download.file, download.unpack, root)
    assert sorted(path.relative_to(root) for path in root.rglob("*.*")) == sorted(path.relative_to(tree) for path in tree.rglob("*.*"))
    kept, lost = root / "images/val2017/000000000007.jpg", root / "images/val2017/000000000137.jpg"
    before = kept.stat().st_mtime_ns
    lost.write_bytes(b"half")
    assert unpack(archives / "val2017.zip", load_recipe("cocostuff27").downloads[2].unpack, root) == 4
    assert kept.stat().st_mtime_ns == before
    assert lost.read_bytes() == (tree / "images/val2017/000000000137.jpg").read_bytes()


def test_an_archive_cannot_write_elsewhere(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../val2017/evil.jpg", b"x")
    unpack(tmp_path / "evil.zip", (Unpack(match="val2017/*.jpg", into="images"),), tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").rglob("*") if path.is_file()] == ["evil.jpg"]


def test_damaged_and_other_archives(tmp_path: Path) -> None:
    rule = (Unpack(match="val2017/*.jpg", into="images"),)
    for name in ("a.zip", "a.tar.gz"):
        (tmp_path / name).write_bytes(b"no archive" * 99)
        with pytest.raises(StegoError, match=r"not a whole archive .* delete it and run the same command again"):
            unpack(tmp_path / name, rule, tmp_path / "data")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("val2014/1.jpg", b"x")
    with pytest.raises(StegoError, match=r"other.zip: holds no val2017/\*.jpg"):
        unpack(tmp_path / "other.zip", rule, tmp_path / "data")


# Layouts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DATASETS)
def test_a_complete_layout_has_no_problems_and_each_loss_is_named(name: str, tmp_path: Path) -> None:
    recipe, root = tiny(name), TREES[name](tmp_path)
    assert layout_problems(recipe, root) == []
    for files in recipe.files:
        gone = sorted((root / files.folder).glob(files.pattern))[0]
        content = gone.read_bytes()
        gone.unlink()
        assert layout_problems(recipe, root) == [f"{root / files.folder}: {files.count - 1} files {files.pattern}; expected {files.count}"]
        gone.write_bytes(content)
    for listed in recipe.lists:
        content = (root / listed.file).read_bytes()
        (root / listed.file).write_bytes(content + b"one-more\n")
        assert layout_problems(recipe, root) == [f"{root / listed.file}: {listed.lines + 1} lines; expected {listed.lines}"]
        (root / listed.file).unlink()
        assert layout_problems(recipe, root) == [f"{root / listed.file}: no such list; expected {listed.lines} lines"]
        (root / listed.file).write_bytes(content)


@pytest.mark.parametrize(("name", "file"), [("cityscapes27", "leftImg8bit_trainvaltest.zip"), ("potsdam3", "2_Ortho_RGB.zip")])
def test_without_an_account_the_steps_are_said(name: str, file: str, tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(StegoError) as error:
        prepare_data(load_recipe(name), tmp_path / "absent", said.append)
    assert f"{tmp_path / 'absent'}" in message(error)
    assert "expected" in message(error)
    assert message(error).endswith("see the steps above")
    assert any(file in line for line in said)
    assert any("account" in line or "Ask for" in line for line in said)


def test_complete_data_are_left_alone(tmp_path: Path) -> None:
    said: list[str] = []
    prepare_data(tiny("cityscapes27"), cityscapes_tree(tmp_path), said.append)
    assert said == [f"data: {tmp_path} is complete"]


def test_an_archive_whose_files_are_there_is_not_asked_for(tmp_path: Path) -> None:
    """The address leads nowhere, so asking would fail."""
    root = coco_tree(tmp_path / "data")
    archives = coco_archives(root, tmp_path / "data/downloads")
    (archives / "val2017.zip").unlink()
    (root / "curated/val2017" / CURATED).unlink()
    nowhere = [item.model_copy(update={"url": "http://127.0.0.1:9/x", "size": None, "md5": None}) for item in load_recipe("cocostuff27").downloads]
    prepare_data(tiny("cocostuff27", downloads=tuple(nowhere)), root, lambda _line: None)
    assert (root / "curated/val2017" / CURATED).is_file()


def test_a_split_without_labels_is_refused(tmp_path: Path) -> None:
    import shutil

    shutil.rmtree(cityscapes_tree(tmp_path) / "gtFine/val")
    with pytest.raises(StegoError, match="the split val has no labels"):
        open_splits(load_recipe("cityscapes27"), tmp_path, None, None)


# Potsdam's tiles ---------------------------------------------------------------------------------------------------


def raw_potsdam(root: Path, names: tuple[str, ...] = ("2_10", "6_7", "2_13"), side: int = 800) -> dict[str, tuple[Any, Any]]:
    """Large images and label pictures in the published colours, named as ISPRS names them."""
    colours = np.array(list(COLOURS), dtype=np.uint8)
    made = {}
    for folder in (potsdam_tiles.IMAGES, potsdam_tiles.LABELS[1]):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        image, fine = scene(side, side, seed=number, values=(0, 1, 3), void=None)
        fine[:, :100], fine[:, 100:150] = 4, 5
        Image.fromarray(image).save(root / potsdam_tiles.IMAGES / f"top_potsdam_{name}_RGB.tif")
        Image.fromarray(colours[fine]).save(root / potsdam_tiles.LABELS[1] / f"top_potsdam_{name}_label.tif")
        made[name] = image, fine
    return made


def test_tiles_are_halved_cut_and_listed_as_published(tmp_path: Path) -> None:
    made = raw_potsdam(tmp_path)
    assert cut_tiles(tmp_path, expected=3) == 12
    assert {path.stem for path in (tmp_path / "imgs").glob("*.mat")} == {f"{name}_{row}_{column}" for name in made for row in (0, 1) for column in (0, 1)}
    assert len(list((tmp_path / "gt").glob("*.mat"))) == 8  # 2_13 was not labelled for the participants
    lists = {path.stem: path.read_text().split() for path in tmp_path.glob("*.txt")}
    assert len(lists["labelled_test"]) == 12 // 10
    assert len(lists["labelled_train"]) == 7
    assert sorted(lists["unlabelled_train"]) == sorted(f"2_13_{row}_{column}" for row in (0, 1) for column in (0, 1))
    assert len(set(lists["all"])) == 12
    image, fine = made["6_7"]
    tile = loadmat(tmp_path / "imgs/6_7_1_0.mat")["img"]
    means = image[400:, :400].reshape(200, 2, 200, 2, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(tile - means).max() <= 0.5
    np.testing.assert_array_equal(loadmat(tmp_path / "gt/6_7_1_0.mat")["gt"], fine[400::2, :400:2])
    dataset = open_dataset(tmp_path, split="train+val", layout="potsdam3")
    _, label = dataset.read_pair(next(sample for sample in dataset.samples if sample.key == "6_7_1_0"))
    np.testing.assert_array_equal(label, np.array([0, 1, 2, 2, 0, 1])[fine[400::2, :400:2]])


def test_cutting_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw_potsdam(tmp_path)
    read = potsdam_tiles.read_image
    seen: list[str] = []

    def failing(path: Path) -> Any:
        seen.append(path.name)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(potsdam_tiles, "read_image", failing)
    with pytest.raises(KeyboardInterrupt):
        cut_tiles(tmp_path, expected=3)
    assert not (tmp_path / "labelled_train.txt").exists()
    first = list(seen)
    assert cut_tiles(tmp_path, expected=3) == 12
    assert "top_potsdam_2_10_RGB.tif" in first
    assert "top_potsdam_2_10_RGB.tif" not in seen[4:]


def test_colours_off_the_palette_and_without_meaning() -> None:
    colours = [(252, 255, 0), (9, 222, 221), (225, 227, 227), (0, 0, 255), (254, 3, 1), (20, 250, 9), (0, 0, 0), (255, 0, 255)]
    assert fine_values(np.array([colours], dtype=np.uint8)).tolist() == [[4, 2, 0, 1, 5, 3, 255, 255]]


def test_potsdam_images_that_are_missing_or_of_another_size(tmp_path: Path) -> None:
    raw_potsdam(tmp_path)
    with pytest.raises(StegoError, match=r"3 files top_potsdam_\*_RGB.tif; expected 38"):
        cut_tiles(tmp_path)
    label = tmp_path / potsdam_tiles.LABELS[1] / "top_potsdam_2_10_label.tif"
    Image.new("RGB", (400, 400)).save(label)
    with pytest.raises(StegoError, match=r"label is 400 × 400; expected 800 × 800, the size of its image"):
        cut_tiles(tmp_path, expected=3)
    label.unlink()
    with pytest.raises(StegoError, match=r"top_potsdam_2_10_label.tif: no such label file"):
        cut_tiles(tmp_path, expected=3)
    Image.new("RGB", (500, 400)).save(tmp_path / potsdam_tiles.IMAGES / "top_potsdam_2_13_RGB.tif")
    raw_potsdam(tmp_path, names=("2_10",))
    with pytest.raises(StegoError, match=r"image is 500 × 400; expected a multiple of 400"):
        cut_tiles(tmp_path, expected=3)
    with pytest.raises(StegoError, match="no top_potsdam"):
        cut_tiles(tmp_path / "absent")


def test_the_24_images_of_the_participants() -> None:
    assert len(set(LABELLED)) == 24
    assert 24 * 15 * 15 == 5400
    assert 38 * 15 * 15 == 8550


def test_the_data_stage_cuts_potsdam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw_potsdam(tmp_path)
    recipe = tiny("potsdam3").model_copy(
        update={
            "files": (Files(folder="imgs", pattern="*.mat", count=12), Files(folder="gt", pattern="*.mat", count=8)),
            "lists": (ListFile(file="labelled_train.txt", lines=7), ListFile(file="labelled_test.txt", lines=1)),
        }
    )
    monkeypatch.setattr("benchmarks.published.data.cut_tiles", lambda root, progress: cut_tiles(root, expected=3, progress=progress))
    said: list[str] = []
    prepare_data(recipe, tmp_path, said.append)
    assert said == ["data: 12 tiles cut", f"data: {tmp_path} is complete"]


def test_a_download_needs_a_whole_md5() -> None:
    with pytest.raises(ValueError, match="md5"):
        Download(url="http://x/y", file="y", md5="abc", unpack=())
