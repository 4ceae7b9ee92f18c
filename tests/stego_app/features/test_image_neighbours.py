"""Nearest images against a full sort of all inner products."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import StegoError
from stego_app.features import neighbours, similar
from stego_app.features.neighbours import nearest_images
from stego_app.features.similar import most_similar


def unit(count: int, channels: int, seed: int) -> npt.NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, channels)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def test_equals_a_full_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar, "_QUERIES", 7)  # several chunks, the last one short
    pooled = unit(50, 8, 0)
    scores = pooled @ pooled.T
    np.fill_diagonal(scores, -np.inf)
    np.testing.assert_array_equal(nearest_images(pooled, 5), np.argsort(-scores, axis=1)[:, :5])


def test_duplicates_never_name_themselves() -> None:
    pooled = np.repeat(unit(2, 4, 1), 10, axis=0)
    found = nearest_images(pooled, 3)
    assert found.shape == (20, 3)
    for index, row in enumerate(found):
        assert index not in row
        assert len(set(row)) == 3
        np.testing.assert_allclose(pooled[row] @ pooled[index], 1, atol=1e-5)


def test_fewer_images_than_neighbours_uses_what_exists_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = nearest_images(unit(4, 8, 2), 7)
    assert found.shape == (4, 3)
    assert "7 neighbours asked for, but 4 images have only 3 others" in caplog.text
    assert all(sorted([index, *row]) == [0, 1, 2, 3] for index, row in enumerate(found.tolist()))


@pytest.mark.parametrize(("count", "k", "message"), [(1, 3, "at least 2 images"), (5, 0, "expected at least 1")])
def test_impossible_requests(count: int, k: int, message: str) -> None:
    with pytest.raises(StegoError, match=message):
        nearest_images(unit(count, 4, 3), k)


def test_many_images_are_found_by_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the exact size: of images that lie in groups nearly all nearest ones are found, and where the lists looked at hold too few, all are."""
    groups = np.repeat(unit(100, 16, 4), 20, axis=0) + 0.2 * unit(2000, 16, 5)
    pooled = np.asarray(groups / np.linalg.norm(groups, axis=1, keepdims=True), dtype=np.float32)
    exact = nearest_images(pooled, 5)
    monkeypatch.setattr(neighbours, "most_similar", partial(most_similar, exact_rows=1000))
    assert (np.sort(nearest_images(pooled, 5)) == np.sort(exact)).mean() > 0.95
    monkeypatch.setattr(similar, "_PROBES", 1)
    found = nearest_images(pooled, 1500)
    assert all(len(set(row)) == 1500 and index not in row for index, row in enumerate(found.tolist()))
