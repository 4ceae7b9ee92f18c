"""From patch probabilities to label maps: resizing, deciding, files and colours."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.errors import StegoError
from stego_app.crf import CrfSettings
from stego_app.segmentation import IGNORED, Segmentation, decide, finish, index_png, reduced_image, upsample_probabilities

PALETTE = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255)], dtype=np.uint8)


def dirichlet(rows: int, height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(rows), (height, width)).transpose(2, 0, 1).astype(np.float32)


def naive_bilinear(layer: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear resizing with pixel centres aligned and edges held, written out."""
    h, w = layer.shape
    result = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * h / height - 0.5, 0), h - 1)
            x = min(max((j + 0.5) * w / width - 0.5, 0), w - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
            a, b = y - top, x - left
            upper = (1 - b) * layer[top, left] + b * layer[top, right]
            lower = (1 - b) * layer[bottom, left] + b * layer[bottom, right]
            result[i, j] = (1 - a) * upper + a * lower
    return result


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6), st.integers(6, 20), st.integers(6, 20), st.integers(0, 99))
def test_decision_equals_resizing_everything_first(classes: int, h: int, w: int, height: int, width: int, seed: int) -> None:
    p = dirichlet(classes + 1, h, w, seed)
    whole = np.stack([naive_bilinear(layer, height, width) for layer in p])
    labels, scores = decide(p, (height, width))
    np.testing.assert_allclose(scores, whole.max(axis=0), atol=1e-4)
    chosen = np.where(labels == IGNORED, classes, labels).astype(int)
    np.testing.assert_allclose(np.take_along_axis(whole, chosen[None], axis=0)[0], whole.max(axis=0), atol=1e-4)
    np.testing.assert_allclose(upsample_probabilities(p, (height, width)), whole, atol=1e-4)


def test_the_last_row_is_ignored() -> None:
    p = np.zeros((3, 1, 2), dtype=np.float32)
    p[2, 0, 0] = p[1, 0, 1] = 1
    labels, scores = decide(p, (1, 2))
    assert labels.tolist() == [[IGNORED, 1]]
    assert scores.tolist() == [[1, 1]]


def test_large_images_take_a_few_bytes_a_pixel() -> None:
    p = dirichlet(31, 20, 30, 0)
    tracemalloc.start()
    decide(p, (2000, 3000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2000 * 3000 * 16


def test_finish_puts_the_border_where_the_image_has_it() -> None:
    image = np.full((120, 160, 3), (30, 60, 90), dtype=np.uint8)
    image[:, 66:] = (200, 180, 40)
    p = np.zeros((3, 6, 8), dtype=np.float32)
    # The patch in which the edge lies is undecided.
    p[0, :, :3], p[1, :, 4:], p[:2, :, 3] = 1, 1, 0.5
    truth = (np.arange(160) >= 66).astype(int)
    plain, refined = (finish(image, p, names=["left", "right"], palette=PALETTE[:2], crf=crf) for crf in (False, True))
    assert (refined.labels == truth).all()
    assert (plain.labels != truth).any()
    assert refined.scores.shape == (120, 160)
    assert refined.scores.dtype == np.float32
    assert 0 <= refined.scores.min() <= refined.scores.max() <= 1


def test_crf_sees_large_images_reduced() -> None:
    image = np.zeros((1000, 2000, 3), dtype=np.uint8)
    assert reduced_image(image, CrfSettings(max_side=200)).shape == (100, 200, 3)
    assert reduced_image(image, CrfSettings(max_side=2000)) is image
    p = np.full((3, 4, 4), 0.1, dtype=np.float32)
    p[0] = 0.8
    assert finish(image, p, names=["a", "b"], palette=PALETTE[:2], crf=True).labels.shape == (1000, 2000)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 255), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_index_png_read_back_equals_the_labels(classes: int, height: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, (height, width)).astype(np.uint8)
    labels[random.random((height, width)) < 0.2] = IGNORED
    palette = random.integers(0, 256, (classes, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(index_png(labels, palette))) as image:
        assert (image.format, image.mode) == ("PNG", "P")
        np.testing.assert_array_equal(np.asarray(image), labels)
        shown = np.asarray(image.convert("RGB"))
    expected = np.where((labels == IGNORED)[..., None], 0, palette[np.minimum(labels, classes - 1)])
    np.testing.assert_array_equal(shown, expected)


def segmentation() -> Segmentation:
    labels = np.zeros((10, 20), dtype=np.uint8)
    labels[:, 10:], labels[:2] = 2, IGNORED
    image = np.full((10, 20, 3), 100, dtype=np.uint8)
    return Segmentation(image, labels, np.ones((10, 20), dtype=np.float32), ["a", "b", "c"], PALETTE)


def test_overlay_tints_outlines_and_leaves_ignored_pixels() -> None:
    shown = segmentation().overlay(0.5)
    assert (shown[0] == 100).all()
    assert (shown[5, 9] == PALETTE[0]).all()
    np.testing.assert_allclose(shown[5, 4], (100 + PALETTE[0].astype(int)) / 2, atol=1)
    np.testing.assert_array_equal(segmentation().overlay(0)[5, 4], (100, 100, 100))
    with pytest.raises(StegoError, match="0 to 1"):
        segmentation().overlay(1.5)


def test_overlay_does_not_change_the_image_and_is_the_same_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    import stego_app.segmentation as module

    result = segmentation()
    whole = result.overlay()
    assert (result.image == 100).all()
    monkeypatch.setattr(module, "STRIP_PIXELS", 60)
    np.testing.assert_array_equal(result.overlay(), whole)


def test_overlay_files() -> None:
    result = segmentation()
    with Image.open(io.BytesIO(result.to_overlay_png())) as image:
        np.testing.assert_array_equal(np.asarray(image), result.overlay())
    with Image.open(io.BytesIO(result.to_overlay_jpeg())) as image:
        assert (image.format, image.size) == ("JPEG", (20, 10))


def test_areas_are_largest_first_and_leave_out_what_is_absent() -> None:
    result = segmentation()
    result.labels[5, :10] = 2
    assert result.areas() == [
        {"label": 2, "name": "c", "color": "#0000ff", "pixels": 90, "share": 0.45},
        {"label": 0, "name": "a", "color": "#ff0000", "pixels": 70, "share": 0.35},
    ]


@pytest.mark.parametrize(
    ("shape", "names", "message"),
    [((3, 4, 4), ["a"], "expected"), ((2, 4, 4), ["a", "b"], "expected"), ((257, 4, 4), ["x"] * 256, "at most 255")],
)
def test_finish_refuses_what_does_not_fit(shape: tuple[int, ...], names: list[str], message: str) -> None:
    with pytest.raises(StegoError, match=message):
        finish(np.zeros((8, 8, 3), np.uint8), np.zeros(shape, np.float32), names=names, palette=np.zeros((len(names), 3), np.uint8), crf=False)


def test_overlays_wider_than_a_jpeg_can_be_are_reduced() -> None:
    image = np.full((4, 70_000, 3), 128, np.uint8)
    wide = Segmentation(image, np.zeros(image.shape[:2], np.uint8), np.zeros((0, 0), np.float32), ["a"], PALETTE[:1])
    with Image.open(io.BytesIO(wide.to_overlay_jpeg())) as shown:
        assert shown.size == (65_500, 3)
