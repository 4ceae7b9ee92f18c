"""Colour jitter as one affine map, against Pillow's own operations and what is known of each."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from pretrain.augment import LUMA, Crop, contrast, hue, make_view, random_colours, saturation


def pale(seed: int = 0) -> npt.NDArray[np.uint8]:
    """An image (24, 32, 3) of middle colours, which no operation below clips."""
    return np.random.default_rng(seed).integers(90, 160, (24, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("factor", [0.6, 0.9, 1.0, 1.3])
def test_contrast_and_saturation_are_pillows(factor: float) -> None:
    image = pale()
    mean = np.array([*cv2.mean(image)[:3], 1.0])
    picture = Image.fromarray(image)
    for found, wanted in (
        (contrast(np.eye(3, 4), factor, mean), ImageEnhance.Contrast(picture).enhance(factor)),
        (saturation(factor) @ np.eye(3, 4), ImageEnhance.Color(picture).enhance(factor)),
    ):
        assert np.abs(cv2.transform(image, found).astype(int) - np.asarray(wanted).astype(int)).max() <= 1


def test_contrast_is_about_the_mean_of_what_came_before() -> None:
    image = pale()
    mean = np.array([*cv2.mean(image)[:3], 1.0])
    darker = 0.7 * np.eye(3, 4)
    step_by_step = cv2.transform(image.astype(np.float64), darker)
    second = contrast(np.eye(3, 4), 1.4, np.array([*step_by_step.mean((0, 1)), 1.0]))
    np.testing.assert_allclose(cv2.transform(image.astype(np.float64), contrast(darker, 1.4, mean)), cv2.transform(step_by_step, second), atol=1e-9)


@given(turn=st.floats(-0.5, 0.5), colour=st.tuples(*[st.floats(0, 255)] * 3))
def test_a_turn_of_hue_keeps_luma_and_grey_and_is_undone_by_its_opposite(turn: float, colour: tuple[float, float, float]) -> None:
    given_colour = np.array(colour)
    turned = hue(turn) @ given_colour
    assert abs(LUMA @ turned - LUMA @ given_colour) < 1e-6
    np.testing.assert_allclose(hue(turn) @ np.full(3, 77.0), 77.0, atol=0.1)
    np.testing.assert_allclose(hue(-turn) @ turned, given_colour, atol=1e-6)


def test_a_third_of_the_circle_takes_red_towards_green() -> None:
    red, green = np.array([200.0, 60, 60]), np.array([60.0, 200, 60])
    turned = {turn: hue(turn) @ red for turn in (1 / 3, -1 / 3)}
    nearest = min(turned, key=lambda turn: float(np.abs(turned[turn] - green).sum()))
    assert int(np.argmax(turned[nearest])) == 1


def test_greying_leaves_three_equal_channels_whatever_came_before() -> None:
    image = pale(1)
    colours = random_colours(Crop(16, jitter=1.0, grey=1.0), image, np.random.default_rng(3))
    assert colours is not None
    np.testing.assert_allclose(colours, np.broadcast_to(colours[:1], colours.shape), atol=1e-9)


def test_without_jitter_and_grey_colours_are_left_alone() -> None:
    assert random_colours(Crop(16), pale(), np.random.default_rng(0)) is None
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 1] = np.arange(0, 256, 16, dtype=np.uint8)
    view, _, flipped = make_view(image, Crop(16, (1.0, 1.0), flip=1.0), np.random.default_rng(0))
    assert flipped
    assert set(np.unique(view[1].numpy())) <= set(range(256))
    assert int(view[0].max()) == 0


def test_solarizing_inverts_what_is_bright() -> None:
    image = np.full((16, 16, 3), 200, np.uint8)
    image[:8] = 50
    view, _, _ = make_view(image, Crop(16, (1.0, 1.0), flip=0.0, solarize=1.0), np.random.default_rng(0))
    assert {50, 55} <= set(np.unique(view.numpy()).tolist())
