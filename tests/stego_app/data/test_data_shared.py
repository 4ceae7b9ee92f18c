"""The readers on real CamVid and MSRC, where ``STEGO_DATA`` says they are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from stego_app.data import open_dataset

ROOT = Path(os.environ.get("STEGO_DATA", "/nonexistent"))


def needs(name: str) -> Path:
    if not (ROOT / name).is_dir():
        pytest.skip(f"the environment variable STEGO_DATA names no folder with {name}/")
    return ROOT / name


def test_camvid_is_recognised_and_its_classes_lie_where_they_should() -> None:
    dataset = open_dataset(needs("camvid"), split="val")
    assert dataset.name == "CamVid val"
    assert len(dataset) == 101
    assert dataset.class_names is not None
    heights: dict[str, list[float]] = {name: [] for name in dataset.class_names}
    for sample in dataset.samples[::10]:
        image, label = dataset.read_pair(sample)
        assert image.shape == (360, 480, 3)
        for number in np.unique(label[label != 255]):
            heights[dataset.class_names[number]].append(float((np.nonzero(label == number)[0] / 360).mean()))
    mean = {name: np.mean(found) for name, found in heights.items() if found}
    assert mean["sky"] < mean["building"] < mean["car"] < mean["road"]


def test_msrc_is_read_as_a_folder_with_named_classes() -> None:
    dataset = open_dataset(needs("msrc_v2"))
    assert len(dataset) == 591
    assert dataset.class_names is not None
    assert len(dataset.class_names) == 23
    green, blue = [], []
    for sample in dataset.samples[::6]:
        image, label = dataset.read_pair(sample)
        for name, shares in (("grass", green), ("sky", blue)):
            chosen = image[label == dataset.class_names.index(name)].astype(float)
            if len(chosen):
                shares.append(chosen.mean(axis=0))
    assert np.mean(green, axis=0).argmax() == 1
    assert np.mean(blue, axis=0).argmax() == 2
