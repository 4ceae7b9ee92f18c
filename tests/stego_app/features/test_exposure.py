"""Dark images are brightened by a power, and no other image is touched."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from stego_app.features.exposure import DARK, brightened
from stego_app.features.extract import resize_for_backbone


def luma(image: torch.Tensor) -> float:
    """Mean of Y of the YIQ colour space over all pixels that are not black, one by one."""
    seen = [colorsys.rgb_to_yiq(*pixel)[0] for pixel in image.flatten(1).T.tolist() if any(pixel)]
    return math.fsum(seen) / len(seen)


def picture(seed: int, scale: float) -> torch.Tensor:
    return torch.rand(3, 6, 9, generator=torch.Generator().manual_seed(seed)) * scale


@given(st.integers(0, 99), st.floats(0.05, 1))
def test_a_dark_image_is_raised_to_the_power_of_its_own_luminance(seed: int, scale: float) -> None:
    image = picture(seed, scale)
    before, found = luma(image), brightened(image)
    power = math.log(DARK) / math.log(before) if before < DARK else 1.0
    np.testing.assert_allclose(found.numpy(), image.double().numpy() ** power, atol=5e-3)  # colorsys weighs colours to two places
    assert (found >= image - 1e-6).all()


@given(st.floats(0.03, 0.34))
def test_an_even_picture_gets_the_luminance_itself(value: float) -> None:
    np.testing.assert_allclose(brightened(torch.full((3, 4, 4), value)).numpy(), DARK, atol=1e-5)


def test_brighter_images_and_black_ones_stay_as_they_are() -> None:
    for image in (picture(0, 1.0), torch.ones(3, 4, 4), torch.zeros(3, 4, 4)):
        assert torch.equal(brightened(image), image)


def test_a_black_frame_changes_nothing() -> None:
    for scale in (0.3, 1.0):
        image = picture(1, scale)
        framed = torch.nn.functional.pad(image, (4, 4, 20, 20))
        torch.testing.assert_close(brightened(framed)[:, 20:-20, 4:-4], brightened(image))


def test_each_image_of_a_batch_counts_alone_and_the_order_of_brightness_is_kept() -> None:
    batch = torch.stack([picture(number, scale) for number, scale in enumerate((0.1, 0.4, 1.0))])
    found = brightened(batch)
    for image, alone in zip(batch, found, strict=True):
        torch.testing.assert_close(brightened(image), alone)
        assert torch.equal(image.flatten().argsort(), alone.flatten().argsort())


def test_day_and_dusk_enter_the_backbone_alike() -> None:
    day = np.random.default_rng(0).integers(40, 160, (64, 96, 3)).astype(np.uint8)
    dusk = (255 * (day / 255) ** 3).astype(np.uint8)
    apart = (resize_for_backbone(day, 48, 16) - resize_for_backbone(dusk, 48, 16)).abs().mean()
    evened = (resize_for_backbone(day, 48, 16, brighten=True) - resize_for_backbone(dusk, 48, 16, brighten=True)).abs().mean()
    assert evened < apart / 2
