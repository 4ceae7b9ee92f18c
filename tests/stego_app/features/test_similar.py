"""Most similar rows against a sort of all inner products, by every way that there is to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from stego_app.features.similar import most_similar

Floats = npt.NDArray[np.float32]


def grouped(count: int, width: int, seed: int) -> Floats:
    """Unit rows (count, width) in groups of about ten, as images and patches lie."""
    random = np.random.default_rng(seed)
    rows = np.repeat(random.standard_normal((count // 10 + 1, width)), 10, axis=0)[:count] + 0.5 * random.standard_normal((count, width))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def recall(found: npt.NDArray[np.int64], queries: Floats, rows: Floats) -> float:
    """Share of the truly nearest that were found."""
    true = np.argsort(-(queries @ rows.T), axis=1)[:, : found.shape[1]]
    return float(np.mean([len(set(one) & set(other)) / len(one) for one, other in zip(true.tolist(), found.tolist(), strict=True)]))


@pytest.mark.parametrize(("exact_rows", "least", "rounding"), [(5000, 1.0, 1e-6), (1000, 0.95, 2e-3)])
def test_finds_the_nearest(exact_rows: int, least: float, rounding: float) -> None:
    rows, queries = grouped(4000, 24, 0), grouped(50, 24, 0)
    similarities, found = most_similar(queries, rows, 8, exact_rows=exact_rows)
    assert recall(found, queries, rows) >= least
    np.testing.assert_allclose(similarities, np.take_along_axis(queries @ rows.T, found, axis=1), atol=rounding)
    assert (np.diff(similarities, axis=1) <= 0).all()


def test_lists_on_disk_answer_as_those_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    rows, queries = grouped(3000, 16, 1), grouped(40, 16, 2)
    held = most_similar(queries, rows, 6, exact_rows=100)
    spilled = most_similar(queries, rows, 6, exact_rows=100, in_memory=20_000)  # five parts of 625
    np.testing.assert_array_equal(held[1], spilled[1])
    np.testing.assert_array_equal(held[0], spilled[0])
    assert list(tmp_path.iterdir()) == [], "the lists are gone"


def test_rows_may_be_a_memory_map(tmp_path: Path) -> None:
    rows = grouped(600, 8, 3)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    for exact_rows in (1000, 100):
        expected = most_similar(rows[:5], rows, 3, exact_rows=exact_rows)[1]
        np.testing.assert_array_equal(most_similar(mapped[:5], mapped, 3, exact_rows=exact_rows)[1], expected)


def test_as_many_as_there_are() -> None:
    assert most_similar(grouped(2, 4, 4), grouped(3, 4, 5), 10)[1].shape == (2, 3)
