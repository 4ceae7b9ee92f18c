"""Potsdam-3 in its published layouts: .mat, .tif and .png tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy.io import savemat

from models.errors import StegoError
from stego_app.data import open_dataset
from tests.stego_app.data.layout_parts import keys, message


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
