"""A running service around the fake segmenter."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from fake_segmenter import FakeSegmenter
from live_server import running

from api import ServiceSettings, create_app

MAX_BYTES = 300_000
MAX_PIXELS = 40_000


@pytest.fixture(scope="session")
def settings() -> ServiceSettings:
    return ServiceSettings(max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS, ui=False, upload_timeout=20)


@pytest.fixture(scope="session")
def url(settings: ServiceSettings) -> Iterator[str]:
    """A service with two models, on a real socket."""
    with running(create_app(settings, {"default": FakeSegmenter(), "fine": FakeSegmenter(default_classes=20)})) as base:
        yield base


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30) as opened:
        yield opened
