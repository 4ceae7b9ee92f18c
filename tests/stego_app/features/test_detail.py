"""How much of an image its patches keep, and the size that follows from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import f_oneway

from models.errors import StegoError
from stego_app.features.detail import KEPT, LARGER, USUAL, choose_resolution, kept_by_patches

PATCH = 4


def noise(seed: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(channels, 8, 12, generator=torch.Generator().manual_seed(seed))


def halved(image: torch.Tensor) -> npt.NDArray[np.float64]:
    """Means of two by two pixels, one by one."""
    pixels = image.double().numpy()
    rows, columns = pixels.shape[1] // 2, pixels.shape[2] // 2
    return np.array([[[channel[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean() for x in range(columns)] for y in range(rows)] for channel in pixels])


@given(st.integers(0, 99))
def test_it_is_the_correlation_ratio_of_an_analysis_of_variance(seed: int) -> None:
    image = noise(seed, channels=1)
    seen = halved(image)[0]
    groups = [seen[y : y + 2, x : x + 2].ravel() for y in range(0, 4, 2) for x in range(0, 6, 2)]
    f = f_oneway(*groups).statistic
    between, within = len(groups) - 1, seen.size - len(groups)
    assert kept_by_patches(image, PATCH) == pytest.approx(f * between / (f * between + within), abs=1e-5)


@given(st.integers(0, 99))
def test_channels_add_up_and_exposure_does_not_matter(seed: int) -> None:
    image = noise(seed)
    seen = halved(image)
    patches = seen.reshape(3, 2, 2, 3, 2).mean((2, 4)).reshape(3, -1)
    expected = patches.var(1).sum() / seen.reshape(3, -1).var(1).sum()
    assert kept_by_patches(image, PATCH) == pytest.approx(expected, abs=1e-5)
    assert kept_by_patches(0.5 * image + 0.2, PATCH) == pytest.approx(expected, abs=1e-5)
    assert 0 <= expected <= 1


def test_patches_of_one_colour_keep_all_and_stripes_inside_them_nothing() -> None:
    coarse = torch.rand(3, 2, 3).repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)
    assert kept_by_patches(coarse, PATCH) == pytest.approx(1)
    stripes = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(3, 8, 3)
    assert kept_by_patches(stripes, PATCH) == pytest.approx(0)
    single = torch.tensor([0.0, 1.0]).repeat(3, 8, 6)  # from one pixel to the next: noise, which counts for nothing
    assert kept_by_patches(0.5 * coarse + 0.1 * single, PATCH) == pytest.approx(1)
    assert kept_by_patches(torch.full((3, 8, 8), 0.3), PATCH) == 1


def picture(cell: int) -> npt.NDArray[np.uint8]:
    """224 by 224 pixels of cells of random grey."""
    grey = np.random.default_rng(cell).integers(0, 256, (224 // cell + 1,) * 2).astype(np.uint8)
    return np.repeat(np.repeat(grey, cell, 0), cell, 1)[:224, :224, None].repeat(3, 2)


COARSE, FINE = picture(64), picture(6)


@pytest.mark.parametrize(("fine", "expected"), [(0, USUAL), (2, USUAL), (3, LARGER), (5, LARGER)])
def test_most_images_decide(fine: int, expected: int) -> None:
    pictures = {Path(str(number)): FINE if number < fine else COARSE for number in range(5)}
    told: list[tuple[str, int, int]] = []
    chosen = choose_resolution(list(pictures), 16, pictures.__getitem__, lambda *step: told.append(step))
    assert chosen.resolution == expected
    assert (chosen.kept < KEPT) is (expected == LARGER)
    assert told == [("detail", number, 5) for number in range(1, 6)]


def test_unreadable_images_are_passed_over_and_of_many_some_are_looked_at_from_first_to_last() -> None:
    read: list[int] = []

    def reader(path: Path) -> npt.NDArray[np.uint8]:
        read.append(int(path.name))
        if len(read) % 3:
            raise StegoError("damaged")
        return FINE

    assert choose_resolution([Path(str(number)) for number in range(1000)], 16, reader).resolution == LARGER
    assert (len(read), read[0], read[-1]) == (40, 0, 999)
    assert max(np.diff(read)) <= 26


def test_nothing_readable_is_seen_as_usual() -> None:
    def broken(path: Path) -> npt.NDArray[np.uint8]:
        raise StegoError(str(path))

    assert choose_resolution([], 16, broken) == choose_resolution([Path("a")], 16, broken) == (USUAL, 1)


def test_pictures_that_a_patch_holds_whole_are_fine_at_the_usual_size(tmp_path: Path) -> None:
    Image.fromarray(COARSE).resize((16, 16), Image.Resampling.BOX).save(tmp_path / "tiny.png")
    assert choose_resolution([tmp_path / "tiny.png"], 16, lambda path: np.asarray(Image.open(path))).resolution == USUAL
