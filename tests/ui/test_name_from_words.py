"""Naming a photo's classes from typed words, without a browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_segmenter import FakeSegmenter
from known_words import KnownSentences, known_bridge, write_trees
from PIL import Image

from api.catalog import Catalog
from models.backbone import Backbone
from models.errors import StegoError
from stego_app.naming.bridge_tower import BridgeTower
from stego_app.segmenter import Segmenter
from ui.desk import Desk
from ui.naming import typed_words
from ui.pictures import Look
from ui.workshop import Workshop, at_once


@pytest.fixture
def desk(tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    tower = BridgeTower(known_bridge("any", tiny_backbone.dim), KnownSentences(tiny_backbone.dim))
    monkeypatch.setattr("stego_app.naming.offline.embedded_tower", lambda _fingerprint: tower)
    (tmp_path / "files").mkdir()
    trees = Segmenter.load(write_trees(tmp_path / "trees.safetensors", tiny_backbone), device="cpu")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "photo.png")
    desk = Desk(Workshop(Catalog({"default": trees, "other": FakeSegmenter()}), tmp_path / "files", 10_000, at_once))
    desk.open("tab", tmp_path / "photo.png", "default", classes=3, crf=0)
    return desk


def test_all_classes_get_the_word_that_fits_and_one_undo_takes_the_names_back(desk: Desk) -> None:
    before = desk.need("tab").segmentation.names
    sitting, told = desk.name("tab", [], "road, tree, sky")
    assert told == "3 of 3 classes named: tree"
    assert list(sitting.segmentation.names) == ["tree 1", "tree 2", "tree 3"]
    assert sum(sitting.steps) == 3
    assert desk.undo("tab").segmentation.names == before
    assert sum(desk.need("tab").steps) == 0


def test_chosen_classes_alone_are_named_and_changes_are_undone_one_by_one(desk: Desk) -> None:
    sitting, told = desk.name("tab", [1], "road\ntree: oak, birch\nsky")
    assert told == "1 of 1 classes named: tree"
    assert sitting.segmentation.names[1] == "tree"
    desk.name("tab", [], "road, tree")
    desk.edit("tab", "rename", [0], "hedge")
    assert desk.undo("tab").segmentation.names[0] == "tree 1"
    assert sum(desk.undo("tab").steps) == 1


def test_one_undo_takes_names_from_words_back_whatever_came_between(desk: Desk, tmp_path: Path) -> None:
    before = desk.need("tab").segmentation.names
    sitting, _ = desk.name("tab", [], "road, tree, sky")
    desk.edit("tab", "rename", [0], "hedge")
    desk.undo("tab")
    sitting = desk.open("tab", tmp_path / "photo.png", "default", classes=3, crf=0)  # another photo
    assert desk.view(sitting, Look(0.5)).changes == 1
    assert desk.undo("tab").segmentation.names == before
    with pytest.raises(StegoError, match="no change to undo"):
        desk.undo("tab")


def test_words_that_fit_nothing_change_nothing(desk: Desk) -> None:
    sitting, told = desk.name("tab", [], "road, sky")
    assert "keep their names" in told
    assert sum(sitting.steps) == 0


@pytest.mark.parametrize(("text", "said"), [("", "no words"), ("road", "only one word"), ("road, tree, Road", "entry 3: 'Road' is there already")])
def test_problems_are_one_line(desk: Desk, text: str, said: str) -> None:
    with pytest.raises(StegoError, match=said):
        desk.name("tab", [], text)


def test_a_model_that_is_no_segmenter_file_is_told(desk: Desk, tmp_path: Path) -> None:
    desk.open("second", tmp_path / "photo.png", "other", classes=3, crf=0)
    with pytest.raises(StegoError, match="rename its classes"):
        desk.name("second", [], "road, tree")


def test_commas_part_words_except_after_a_colon() -> None:
    assert [word.phrases for word in typed_words("sky, cat\nroad: street, asphalt")] == [("sky",), ("cat",), ("road", "street", "asphalt")]
