"""How often labelling does what is dear, counted and not timed: every image is seen once, refined once, read once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_label_folder import BLUE, RED, ColourSegmenter, halves

from stego_app import segmentation
from stego_app.features.neighbours import nearest_images
from stego_app.formats.image_file import ImageFile
from stego_app.labelling import LabelSettings, label_folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four images, for which no processes are started."""
    for number in range(4):
        halves(tmp_path / "photos" / f"{number}.png", RED, BLUE)
    return tmp_path / "photos"


def count(monkeypatch: pytest.MonkeyPatch, counts: Counter[str], owner: Any, name: str) -> None:
    """Have every call of ``owner.name`` counted."""
    original = getattr(owner, name)

    def counted(*arguments: Any, **named: Any) -> Any:
        counts[name] += 1
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, counted)


@pytest.mark.parametrize(("crf", "refined"), [(True, 4), (False, 0)])
def test_an_image_is_read_seen_and_refined_once(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crf: bool, refined: int) -> None:
    counts: Counter[str] = Counter()
    count(monkeypatch, counts, segmentation, "refine")
    count(monkeypatch, counts, ImageFile, "read_bytes")
    count(monkeypatch, counts, ImageFile, "digest")
    segmenter = ColourSegmenter()
    settings = LabelSettings(crf=crf, batch_size=2, overlays=True, confidence=True)
    label_folder(photos, tmp_path / "out", segmenter, settings)
    assert segmenter.batch_sizes == [2, 2]
    assert counts == Counter({"read_bytes": 4, "refine": refined})
    label_folder(photos, tmp_path / "out", segmenter, settings)
    assert segmenter.batch_sizes == [2, 2], "what is done is not seen again"
    assert counts == Counter({"read_bytes": 4, "refine": refined, "digest": 4})


def test_neighbours_never_hold_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """faiss is asked for a bounded number of rows at once, and answers k of each."""
    import faiss

    asked: list[tuple[int, int]] = []
    search = faiss.IndexFlatIP.search

    def noted(self: Any, rows: Any, k: int, *more: Any) -> Any:
        asked.append((len(rows), k))
        return search(self, rows, k, *more)

    monkeypatch.setattr(faiss.IndexFlatIP, "search", noted)
    vectors = np.random.default_rng(0).standard_normal((10_000, 8)).astype(np.float32)
    nearest_images(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), 7)
    assert sum(rows for rows, _ in asked) == 10_000
    assert max(rows for rows, _ in asked) <= 4096
    assert {k for _, k in asked} == {8}
