"""Pictures reduced to a screen, and the layers of the annotated image."""

from __future__ import annotations

import numpy as np
import pytest
from fake_segmenter import FakeSegmentation, FakeSegmenter
from hypothesis import given
from hypothesis import strategies as st

from ui.pictures import Look, layers, reduce_labels, reduce_picture, screen_size, share_text


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_screen_size_fits_and_never_enlarges(height: int, width: int) -> None:
    small = screen_size(height, width)
    assert 1 <= small[0] <= min(height, 1024)
    assert 1 <= small[1] <= min(width, 1024)
    if max(height, width) <= 1024:
        assert small == (height, width)


def test_labels_are_taken_not_mixed() -> None:
    labels = np.kron(np.array([[0, 200], [255, 7]], np.uint8), np.ones((50, 50), np.uint8))
    np.testing.assert_array_equal(reduce_labels(labels, (2, 2)), [[0, 200], [255, 7]])
    np.testing.assert_array_equal(reduce_labels(labels, labels.shape), labels)
    assert set(np.unique(reduce_labels(labels, (33, 17)))) == {0, 7, 200, 255}


def test_pictures_are_averaged() -> None:
    checks = np.indices((64, 64)).sum(0) % 2 * 200
    small = reduce_picture(np.repeat(checks[..., None], 3, 2).astype(np.uint8), (32, 32))
    assert small.shape == (32, 32, 3)
    assert (small == 100).all()


def test_layers_cover_all_but_ignored_pixels_once_in_order_of_size() -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    segmenter = FakeSegmenter()
    segmentation = segmenter.ignore(segmenter.table().leaves_of(2))(image)
    shown = layers(segmentation, Look(0.5), (40, 50))
    total = sum(mask for mask, _ in shown.masks)
    np.testing.assert_array_equal(total == 0.5, segmentation.labels != 255)
    np.testing.assert_array_equal(total == 0, segmentation.labels == 255)
    sizes = [(mask > 0).sum() for mask, _ in shown.masks]
    assert sizes == sorted(sizes, reverse=True)
    assert [shown.colors[text] for _, text in shown.masks] == [area["color"] for area in segmentation.areas()]


def test_classes_of_one_name_and_share_keep_their_colours() -> None:
    labels = np.array([[0, 1]], np.uint8)
    palette = np.array([[255, 0, 0], [0, 0, 255]], np.uint8)
    twins = FakeSegmentation(labels, np.ones((1, 2), np.float32), ["sky", "sky"], palette, np.zeros((1, 2, 3), np.uint8))
    assert layers(twins, Look(1.0), (1, 2)).colors == {"sky · 50 %": "#ff0000", "sky · 50 % (2)": "#0000ff"}


@pytest.mark.parametrize(("share", "text"), [(1.0, "100 %"), (0.345, "34 %"), (0.005, "0 %"), (0.0049, "<1 %"), (1e-6, "<1 %"), (0.0, "0 %")])
def test_shares_for_people(share: float, text: str) -> None:
    assert share_text(share) == text
