"""A segmenter sees dark images brightened, as those of its training were, unless told not to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.artifact import read_artifact, write_artifact
from models.backbone import Backbone, save_backbone
from stego_app.discovery import DiscoverySettings
from stego_app.segmenter import Segmenter
from stego_app.training_run import TrainConfig, train_segmenter

SMALL = DiscoverySettings(codes=32, steps=20, batch=128, fine=12)


@pytest.fixture
def config(image_folder: Path, tiny_backbone: Backbone, tmp_path: Path) -> TrainConfig:
    """A small training on bright images."""
    backbone = tmp_path / "tiny.safetensors"
    save_backbone(backbone, tiny_backbone, precision="fp32")
    return TrainConfig(data=image_folder, backbone=str(backbone), resolution=96, classes=3, discovery=SMALL, cache=tmp_path / "cache")


def test_a_dark_image_is_seen_more_like_its_bright_self_unless_told_not_to(config: TrainConfig, image_folder: Path, tmp_path: Path) -> None:
    image = np.asarray(Image.open(image_folder / "photo0.png"))
    dusk = (255 * (image / 255) ** 3).astype(np.uint8)
    alike = {}
    for brighten in (True, False):
        out = tmp_path / f"{brighten}.safetensors"
        train_segmenter(config if brighten else config.model_copy(update={"brighten": False}), out)
        segmenter = Segmenter.load(out)
        assert segmenter.model.settings.brighten is brighten
        day, dark = (segmenter.encode(picture).tokens for picture in (image, dusk))
        alike[brighten] = float(torch.nn.functional.cosine_similarity(day, dark).mean())
    assert alike[True] > alike[False]


@pytest.mark.parametrize(
    ("brighten", "said"), [(True, "33% of the images are dark and were brightened"), (False, "33% of the images are dark and were left so")]
)
def test_the_report_says_how_many_images_are_dark_and_what_was_done(config: TrainConfig, image_folder: Path, tmp_path: Path, brighten: bool, said: str) -> None:
    assert not [line for line in train_segmenter(config, tmp_path / "bright.safetensors").findings if "dark" in line]
    for number in range(3):
        image = np.asarray(Image.open(image_folder / f"photo{number}.png"))
        Image.fromarray((255 * (image / 255) ** 4).astype(np.uint8)).save(image_folder / f"dusk{number}.png")
    found = train_segmenter(config.model_copy(update={"brighten": brighten}), tmp_path / "mixed.safetensors")
    assert [line for line in found.findings if "dark" in line] == [f"light: {said}"]
    assert f"--set brighten={str(not brighten).lower()}" in found.report.read_text()


def test_a_file_from_before_dark_images_were_brightened_sees_them_as_they_are(config: TrainConfig, tmp_path: Path) -> None:
    new, old = tmp_path / "new.safetensors", tmp_path / "old.safetensors"
    train_segmenter(config, new)
    tensors, header = read_artifact(new, "segmenter")
    del header["settings"]["brighten"]
    write_artifact(old, "segmenter", tensors, header)
    assert Segmenter.load(old).model.settings.brighten is False
