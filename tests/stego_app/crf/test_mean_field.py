"""Mean field against the equations written out over all pairs of pixels, and against the authors' implementation."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

from stego_app.crf import CrfSettings, available_engines, refine
from stego_app.crf.mean_field import SpatialKernel, mean_field
from stego_app.crf.settings import Kernels

needs_pydensecrf = pytest.mark.skipif("pydensecrf" not in available_engines(), reason="the extra 'crf' is not installed")


def two_regions(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image of two noisy regions with a slanted border, the true labels, and noisy probabilities (2, H, W)."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    labels = (columns + 0.4 * rows > 0.65 * width).astype(np.int64)
    image = np.where(labels[..., None], (200, 120, 60), (60, 110, 190)) + random.normal(0, 4, (height, width, 3))
    evidence = np.where(labels, 0.7, 0.3) + random.normal(0, 0.25, labels.shape)
    confident = np.clip(evidence, 0.05, 0.95)
    return image.clip(0, 255).astype(np.uint8), labels, np.stack([1 - confident, confident]).astype(np.float32)


def naive_mean_field(image: np.ndarray, unary: np.ndarray, kernels: Kernels, iterations: int) -> np.ndarray:
    """Krähenbühl & Koltun 2011, algorithm 1, with symmetric normalisation, over all pairs of pixels."""
    height, width, classes = unary.shape
    place = np.stack(np.mgrid[0:height, 0:width], axis=-1).reshape(-1, 2).astype(float)
    color = image.reshape(-1, 3).astype(float)

    def gaussian(features: np.ndarray) -> np.ndarray:
        kernel = np.exp(-((features[:, None] - features[None]) ** 2).sum(axis=-1) / 2)
        scale = 1 / np.sqrt(kernel.sum(axis=1))
        return scale[:, None] * kernel * scale

    spatial = gaussian(place / kernels.spatial_sigma)
    bilateral = gaussian(np.hstack([place / kernels.bilateral_sigma_xy, color / kernels.bilateral_sigma_rgb]))
    pairwise = kernels.spatial_weight * spatial + kernels.bilateral_weight * bilateral
    energies = unary.reshape(-1, classes)
    marginals = softmax(-energies, axis=1)
    for _ in range(iterations):
        marginals = softmax(-energies + pairwise @ marginals, axis=1)
    return marginals.reshape(unary.shape)


def test_equals_the_equations_on_a_small_image() -> None:
    image, _, probabilities = two_regions(24, 30)
    unary = -np.log(np.moveaxis(probabilities, 0, -1))
    kernels = Kernels(3.0, 1.0, 4.0, 12.0, 8.0)
    ours, exact = mean_field(image, unary, kernels, 5), naive_mean_field(image, unary, kernels, 5)
    assert (ours.argmax(-1) == exact.argmax(-1)).mean() > 0.99
    assert np.abs(ours - exact).mean() < 0.03


def test_spatial_kernel_equals_the_sum_over_pairs() -> None:
    values = np.random.default_rng(0).random((9, 13, 5)).astype(np.float32)
    rows = np.exp(-((np.arange(9)[:, None] - np.arange(9)) ** 2) / (2 * 1.3**2))
    columns = np.exp(-((np.arange(13)[:, None] - np.arange(13)) ** 2) / (2 * 1.3**2))
    kernel = np.kron(rows, columns)
    scale = 1 / np.sqrt(kernel.sum(axis=1))
    expected = (scale[:, None] * kernel * scale) @ values.reshape(-1, 5)
    np.testing.assert_allclose(SpatialKernel(9, 13, 1.3).apply(values), expected.reshape(values.shape), atol=2e-3)


def test_no_iteration_gives_the_probabilities_back() -> None:
    image, _, probabilities = two_regions(20, 20)
    np.testing.assert_allclose(refine(image, probabilities, CrfSettings(iterations=0)), probabilities, atol=1e-5)


def test_no_weight_gives_the_probabilities_back() -> None:
    image, _, probabilities = two_regions(20, 20)
    np.testing.assert_allclose(refine(image, probabilities, CrfSettings(spatial_weight=0, bilateral_weight=0)), probabilities, atol=1e-5)


def test_cleans_noise_and_keeps_the_border() -> None:
    image, labels, probabilities = two_regions(80, 100)
    before = (probabilities.argmax(0) == labels).mean()
    after = (refine(image, probabilities).argmax(0) == labels).mean()
    assert before < 0.85
    assert after > 0.98


def test_the_same_input_gives_the_same_bits() -> None:
    image, _, probabilities = two_regions(40, 50)
    assert refine(image, probabilities).tobytes() == refine(image, probabilities).tobytes()


def many_classes(image: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Rough class probabilities (K, H, W) on 14-pixel patches: likeness to random places and colours."""
    import cv2

    height, width = image.shape[:2]
    small = cv2.resize(image, (width // 14, height // 14), interpolation=cv2.INTER_AREA).astype(float) / 80
    places = np.stack(np.mgrid[0 : small.shape[0], 0 : small.shape[1]], axis=-1) / small.shape[0]
    features = np.concatenate([small, places], axis=-1).reshape(-1, 5)
    centres = features[np.random.default_rng(seed).choice(len(features), classes)]
    p = softmax(-(2 if classes == 2 else 6) * ((features[:, None] - centres) ** 2).sum(-1), axis=1).T.reshape(classes, *small.shape[:2])
    return np.stack([cv2.resize(layer, (width, height)) for layer in p]).astype(np.float32)


def photographs() -> list[np.ndarray]:
    from sklearn.datasets import load_sample_image

    return [load_sample_image(name)[60:228, 100:324] for name in ("china.jpg", "flower.jpg")]


@needs_pydensecrf
@pytest.mark.parametrize("classes", [2, 7, 27])
def test_agrees_with_the_authors_implementation_on_photographs(classes: int) -> None:
    for seed, image in enumerate(photographs()):
        probabilities = many_classes(image, classes, seed)
        ours, theirs = (refine(image, probabilities, engine=engine) for engine in ("mean-field", "pydensecrf"))
        assert (ours.argmax(0) == theirs.argmax(0)).mean() >= 0.995
        assert np.abs(ours - theirs).mean() < 2e-3
        # The test would be empty if the CRF did nothing.
        assert (ours.argmax(0) != probabilities.argmax(0)).mean() > 0.003


@needs_pydensecrf
def test_agrees_with_the_authors_implementation_on_street_scenes() -> None:
    root = os.environ.get("STEGO_DATA")
    folder = Path(root) / "camvid" / "images" / "val" if root else None
    if folder is None or not folder.is_dir():
        pytest.skip("STEGO_DATA does not name a folder with camvid/")
    for seed, path in enumerate(sorted(folder.iterdir())[:40:20]):
        image = np.asarray(Image.open(path).convert("RGB").resize((320, 240)))
        probabilities = many_classes(image, 11, seed)
        ours, theirs = (refine(image, probabilities, engine=engine) for engine in ("mean-field", "pydensecrf"))
        assert (ours.argmax(0) == theirs.argmax(0)).mean() >= 0.995
        assert np.abs(ours - theirs).mean() < 2e-3
