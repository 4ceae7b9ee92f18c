"""The embedded backbone: its size, its card, and features that mean something."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_sample_image
from torch.nn import functional

from models.artifact import read_header
from models.backbone import Backbone
from models.backbone_sources import default_backbone_path, load_backbone


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("default")


def test_file_is_small_and_loads_at_once() -> None:
    assert default_backbone_path().stat().st_size <= 24_000_000
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        load_backbone("default")
        times.append(time.perf_counter() - begun)
    assert min(times) < 1.5


def test_cards_agree_with_the_file_and_name_teacher_licence_and_images(backbone: Backbone) -> None:
    header = read_header(default_backbone_path())["card"]
    card = json.loads(default_backbone_path().with_name("backbone.card.json").read_text())
    assert card["fingerprint"] == backbone.fingerprint
    assert {name: value for name, value in card.items() if name != "fingerprint"} == header
    text = default_backbone_path().with_name("backbone.card.md").read_text()
    notice = Path(default_backbone_path().parents[2] / "NOTICE").read_text()
    for word in ("DINOv2", "Apache", "ImageNet", "Caltech-101", "non-commercial"):
        assert word in text
        assert word in notice
    assert card["settings"]["depth"] == backbone.spec.depth
    assert all(skipped == Path(skipped).name for skipped in card["skipped"])


def test_any_block_and_a_wide_image(backbone: Backbone) -> None:
    image = torch.rand(1, 3, 70, 140, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        last, early = backbone(image), load_backbone("default", block=2)(image)
    assert last.patches.shape == early.patches.shape == (1, 384, 5, 10)
    assert not torch.allclose(last.patches, early.patches)


def test_a_mirrored_photo_has_mirrored_features(backbone: Backbone) -> None:
    pixels = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1)[None].float() / 255
    image = functional.interpolate(pixels, size=(14 * 16, 14 * 24), mode="bicubic", antialias=True).clamp(0, 1)
    with torch.inference_mode():
        straight, mirrored = backbone(image).patches, backbone(image.flip(3)).patches.flip(3)
    centre = straight.mean((2, 3), keepdim=True)
    same = functional.cosine_similarity(straight - centre, mirrored - centre, dim=1).mean()
    other = functional.cosine_similarity(straight - centre, (straight - centre).roll((5, 9), (2, 3)), dim=1).mean()
    assert same > 0.7
    assert other < 0.4
