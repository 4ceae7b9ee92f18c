"""How long the page keeps what was dropped on it."""

from __future__ import annotations

from fake_segmenter import FakeSegmenter

from api.catalog import Catalog
from api.settings import ServiceSettings
from ui.folder import MOST
from ui.page import build_demo


def test_photos_outlast_the_longest_album() -> None:
    frequency, age = build_demo(Catalog({"default": FakeSegmenter()})).delete_cache
    assert age > MOST * ServiceSettings().timeout
    assert frequency < age
