"""Principal components against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from models.errors import StegoError
from stego_app.patch_features import PatchFeatures
from stego_app.pca_view import pca_view, principal_components


def rows(count: int, seed: int = 0, dim: int = 8) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    random = np.random.default_rng(seed)
    return (random.normal(size=(count, dim)) * np.arange(dim, 0, -1) @ np.linalg.qr(random.normal(size=(dim, dim)))[0] + 3).astype(np.float32)


def test_components_are_scikit_learn_s() -> None:
    values = rows(200)
    ours, theirs = principal_components(values, 5), PCA(5, svd_solver="full").fit(values.astype(np.float64))
    np.testing.assert_allclose(ours.mean, theirs.mean_, rtol=1e-6)
    np.testing.assert_allclose(ours.shares, theirs.explained_variance_ratio_, rtol=1e-6)
    np.testing.assert_allclose(np.abs(np.sum(ours.directions * theirs.components_, axis=1)), 1, rtol=1e-6)
    largest = ours.directions[np.arange(5), np.abs(ours.directions).argmax(1)]
    assert (largest > 0).all()


def test_the_pictures_show_the_scores_of_all_images_on_one_scale() -> None:
    values = rows(36)
    images = [PatchFeatures(values[:12], (3, 4)), PatchFeatures(values[12:], (4, 6))]
    view = pca_view(images)
    assert [picture.shape for picture in view.pictures] == [(3, 4, 3), (4, 6, 3)]
    scores = PCA(3, svd_solver="full").fit_transform(values.astype(np.float64))
    levels = np.concatenate([picture.reshape(-1, 3) for picture in view.pictures]).astype(float)
    for channel in range(3):
        inner = (levels[:, channel] > 0) & (levels[:, channel] < 255)
        assert inner.sum() > 25
        assert abs(np.corrcoef(levels[inner, channel], scores[inner, channel])[0, 1]) > 0.9999
        assert levels[:, channel].min() == 0
        assert levels[:, channel].max() == 255
    assert view.share == pytest.approx(PCA(3).fit(values).explained_variance_ratio_.sum(), rel=1e-4)


def test_further_components_show_what_is_left() -> None:
    image = PatchFeatures(rows(50), (5, 10))
    assert pca_view([image], 3).share < pca_view([image]).share
    assert (pca_view([image], 3).pictures[0] != pca_view([image]).pictures[0]).any()


def test_patches_that_are_all_alike_are_grey() -> None:
    view = pca_view([PatchFeatures(np.ones((6, 4), np.float32), (2, 3))])
    assert (view.pictures[0] == 128).all()


@pytest.mark.parametrize(("count", "first"), [(1, 0), (2, 0), (5, 3)])
def test_too_few_patches_are_told(count: int, first: int) -> None:
    with pytest.raises(StegoError, match="components of"):
        pca_view([PatchFeatures(rows(count), (1, count))], first)
