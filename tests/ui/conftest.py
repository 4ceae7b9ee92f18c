"""The service with its page on a real socket, and a headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from fake_segmenter import FakeSegmenter
from live_server import running
from playwright.sync_api import Browser, sync_playwright

from api import ServiceSettings, create_app

MAX_BYTES = 2_000_000


@pytest.fixture(scope="session")
def page_url() -> Iterator[str]:
    settings = ServiceSettings(max_bytes=MAX_BYTES, max_pixels=600_000)
    with running(create_app(settings, {"default": FakeSegmenter()})) as base:
        yield base


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    # For one module only: Playwright keeps an event loop running in this thread for as long as it is open.
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium found: install the system's package 'chromium' to run the browser tests")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()
