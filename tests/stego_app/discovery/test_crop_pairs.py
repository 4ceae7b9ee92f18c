from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from models.backbone import Backbone
from models.errors import StegoError
from stego_app.discovery import crop_pairs
from stego_app.discovery.crop_pairs import Box, collect_crop_pairs, point_pairs, random_box, views_of


def coordinates(height: int, width: int) -> torch.Tensor:
    """A feature map (2, h, w) that holds each patch's own centre in shares of the image."""
    across = (torch.arange(width) + 0.5) / width
    down = (torch.arange(height) + 0.5) / height
    return torch.stack([across.expand(height, width), down[:, None].expand(height, width)])


@pytest.mark.parametrize("mirrored", [False, True])
def test_pairs_are_of_the_same_point(mirrored: bool) -> None:
    whole, box = coordinates(40, 60), Box(0.2, 0.3, 0.5, 0.5, mirrored)
    inside = coordinates(20, 30)
    if mirrored:
        inside[0] = 1 - inside[0]
    crop = torch.stack([0.2 + 0.5 * inside[0], 0.3 + 0.5 * inside[1]])  # where each patch of the crop lies in the whole image
    first, second = point_pairs(whole, crop, box, np.random.default_rng(0))
    assert first.shape == second.shape == (150, 2)
    np.testing.assert_allclose(first.numpy(), second.numpy(), atol=1e-5)


def test_boxes_stay_inside_the_image() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        box = random_box(random)
        assert box.left >= 0
        assert box.top >= 0
        assert box.left + box.width <= 1
        assert box.top + box.height <= 1
        assert 0.4 <= box.width <= 0.8


def test_views_show_their_box() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[:, 100:] = 255
    whole, left, mirrored = views_of(image, [Box(0.25, 0.0, 0.5, 0.5, False), Box(0.25, 0.0, 0.5, 0.5, True)], 56, 14)
    assert whole.shape == left.shape == (3, 56, 112)
    assert float(left[:, :, :50].max()) < 0.1
    assert float(left[:, :, 62:].min()) > 0.9
    assert torch.equal(mirrored, left.flip(-1))


def write_images(folder: Path, count: int) -> list[Path]:
    random = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(count)]
    for path in paths:
        Image.fromarray(random.integers(256, size=(48, 64, 3), dtype=np.uint8)).save(path)
    return paths


def test_collects_unit_tokens_and_is_reproducible(tmp_path: Path, tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crop_pairs, "_VIEWS", 12)
    paths = write_images(tmp_path, 5)
    first, second = (collect_crop_pairs(paths, tiny_backbone, resolution=48, limit=5, seed=3, device="cpu", precision="fp32") for _ in range(2))
    assert first.first.shape == first.second.shape == (5 * 3 * 12, tiny_backbone.dim)
    np.testing.assert_allclose(first.second.norm(dim=1).numpy(), 1, atol=1e-4)
    assert torch.equal(first.first, second.first)
    assert torch.equal(first.second, second.second)


def test_few_images_give_more_views_of_each(tmp_path: Path, tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crop_pairs, "_VIEWS", 8)
    sizes = [len(collect_crop_pairs(write_images(tmp_path, count), tiny_backbone, resolution=48, device="cpu").first) for count in (1, 2, 4)]
    assert sizes == [8 * 12] * 3


def test_unreadable_images_are_left_out(tmp_path: Path, tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crop_pairs, "_VIEWS", 4)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    seen: list[tuple[int, int]] = []
    pairs = collect_crop_pairs(
        [broken, *write_images(tmp_path, 1)], tiny_backbone, resolution=48, device="cpu", progress=lambda _stage, done, total: seen.append((done, total))
    )
    assert len(pairs.first) == 2 * 12
    assert seen[-1] == (2, 2)
    no_paths: Sequence[Path] = []
    for paths, message in (([broken], "broken.png"), (no_paths, "no images given")):
        with pytest.raises(StegoError, match=message):
            collect_crop_pairs(paths, tiny_backbone, resolution=48, device="cpu")


def test_pixel_order_is_kept(tiny_backbone: Backbone) -> None:
    image: npt.NDArray[np.uint8] = np.full((32, 32, 3), (255, 0, 0), np.uint8)
    [view] = views_of(image, [], 32, tiny_backbone.patch_size)
    assert view[:, 0, 0].tolist() == [1.0, 0.0, 0.0]


def test_a_dark_crop_is_brightened_as_an_image_of_its_own(tiny_backbone: Backbone) -> None:
    image = np.full((64, 64, 3), 200, np.uint8)
    image[32:] = 20
    dark = Box(0.1, 0.55, 0.4, 0.4, False)
    plain, bright = (views_of(image, [dark], 32, tiny_backbone.patch_size, brighten=brighten) for brighten in (False, True))
    assert torch.equal(plain[0], bright[0])
    assert plain[1].mean() < 0.1
    assert bright[1].mean() > 0.3
