"""Views: addressed by step, within range, and blind to broken files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.errors import StegoError
from pretrain.views import ImageBank, ViewDataset, ViewSchedule, gather_images, random_view


def write_images(folder: Path, count: int, size: tuple[int, int] = (60, 48)) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(count):
        rng = np.random.default_rng(index)
        paths.append(folder / f"{index:02}.png")
        Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(paths[-1])
    return paths


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 40), tokens=st.integers(1, 300), seed=st.integers(0, 99))
def test_every_epoch_deals_every_image_once_and_every_cycle_every_size(count: int, tokens: int, seed: int) -> None:
    grids = [(4, 4), (4, 6), (8, 8)]
    schedule = ViewSchedule(count, grids, tokens, seed)
    dealt: list[int] = []
    sizes = []
    for step in range(12):
        grid, indices = schedule.at(step)
        assert len(indices) == max(1, tokens // (grid[0] * grid[1]))
        sizes.append(grid)
        dealt += indices
    for epoch in range(len(dealt) // count):
        assert sorted(dealt[epoch * count : (epoch + 1) * count]) == list(range(count))
    assert all(sorted(sizes[cycle : cycle + 3]) == sorted(grids) for cycle in range(0, 12, 3))


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(3, 90), columns=st.integers(3, 90), seed=st.integers(0, 999))
def test_views_of_any_picture_have_the_asked_size_and_range(rows: int, columns: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    view = random_view(pixels, 28, 42, np.random.default_rng(seed))
    assert view.shape == (3, 28, 42)
    assert view.dtype == torch.float32
    assert 0 <= float(view.min()) <= float(view.max()) <= 1


def test_a_batch_depends_on_seed_and_step_only(tmp_path: Path) -> None:
    paths = write_images(tmp_path, 6)

    def batch(step: int, start: int = 0, seed: int = 0) -> torch.Tensor:
        schedule = ViewSchedule(6, [(2, 2), (2, 3)], 12, seed)
        return ViewDataset(ImageBank(paths, 32, 1e6), schedule, 7, start, 20)[step - start]

    assert torch.equal(batch(7), batch(7, start=5))
    assert not torch.equal(batch(0), batch(0, seed=1))
    assert batch(3).shape[0] in (2, 3)


def test_bank_shrinks_keeps_to_its_budget_and_gives_the_same_pixels(tmp_path: Path) -> None:
    paths = write_images(tmp_path, 4, size=(200, 100))
    roomy, tight = ImageBank(paths, 50, 1e9), ImageBank(paths, 50, 0)
    for index in range(4):
        first = roomy.get(index)
        assert first is not None
        assert first.shape == (50, 100, 3)
        assert roomy.get(index) is first
        again = tight.get(index)
        assert again is not None
        assert again is not tight.get(index)
        assert np.array_equal(again, first)


def test_unreadable_images_are_skipped_and_listed(tmp_path: Path) -> None:
    paths = write_images(tmp_path, 3)
    paths[1].write_bytes(b"")
    bank = ImageBank(paths, 32, 1e6)
    dataset = ViewDataset(bank, ViewSchedule(3, [(2, 2)], 12, 0), 7, 0, 4)
    for step in range(4):
        assert dataset[step].shape == (3, 3, 14, 14)
    assert list(bank.skipped) == [paths[1]]
    assert "01.png" in bank.skipped[paths[1]]


def test_nothing_but_unreadable_images_is_one_line(tmp_path: Path) -> None:
    paths = write_images(tmp_path, 3)
    for path in paths:
        path.write_bytes(b"broken")
    dataset = ViewDataset(ImageBank(paths, 32, 1e6), ViewSchedule(3, [(2, 2)], 12, 0), 7, 0, 4)
    with pytest.raises(StegoError, match="images in a row cannot be read"):
        dataset[0]


def test_several_folders_with_some_images_held_out(tmp_path: Path) -> None:
    paths = write_images(tmp_path / "a", 5) + write_images(tmp_path / "b", 5)
    train, held = gather_images([tmp_path / "a", tmp_path / "b"], 4)
    assert held == [paths[3], paths[7]]
    assert sorted(train + held) == paths
    (tmp_path / "empty").mkdir()
    with pytest.raises(StegoError, match="empty"):
        gather_images([tmp_path / "a", tmp_path / "empty"], 4)
    with pytest.raises(StegoError, match="absent"):
        gather_images([tmp_path / "absent"], 4)
