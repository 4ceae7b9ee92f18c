"""The service with its page on a real socket, and one page of a headless Chromium that a module's tests share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from bed_photos import bed_photos
from fake_segmenter import FakeSegmenter
from live_server import running
from page_steps import WAIT, Site, Visit
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from api import ServiceSettings, create_app
from api.jobs.settings import JobSettings

MAX_BYTES = 2_000_000
WIDE: ViewportSize = {"width": 1280, "height": 900}

_failed = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    models, folder = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("garden")
    for name, pixels in bed_photos(3):
        Image.fromarray(pixels).save(folder / name)
    settings = ServiceSettings(max_bytes=MAX_BYTES, max_pixels=600_000, folder=folder, jobs=JobSettings(models=models), crf_workers=0)
    segmenters = {
        "default": FakeSegmenter(),
        "unsure": FakeSegmenter(has_confidence=False),
        "single": FakeSegmenter(default_classes=1, max_classes=1),
    }
    with running(create_app(settings, segmenters)) as base:
        yield Site(base, models, folder)


@pytest.fixture(scope="session")
def page_url(site: Site) -> str:
    return site.url


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


@pytest.fixture(scope="module")
def visit(chromium: Browser, page_url: str) -> Iterator[Visit]:
    """One page for all tests of a module: loading it takes longer than most of them."""
    context = chromium.new_context(viewport=WIDE)
    visit = Visit(context.new_page())
    visit.page.set_default_timeout(WAIT)
    visit.page.on("request", lambda request: visit.requests.append(request.url))
    visit.page.on("pageerror", lambda error: visit.failures.append(str(error)))
    visit.page.on("console", lambda message: visit.failures.append(message.text) if message.type == "error" else None)
    _load(visit, page_url)
    assert len(visit.requests) > 5
    yield visit
    context.close()


@pytest.fixture
def page(request: pytest.FixtureRequest, visit: Visit, page_url: str) -> Iterator[Page]:
    """The page with no photo in it; asserts at the end that every request went to the service and no script failed."""
    visit.failures.clear()
    visit.requests.clear()
    visit.page.get_by_role("tab", name="Segment", exact=True).click()
    yield visit.page
    foreign = [asked for asked in visit.requests if not asked.startswith((page_url, "data:", "blob:"))]
    problems = list(visit.failures)
    if request.node.stash.get(_failed, False):
        _load(visit, page_url)  # the next test shall not meet what this one has left behind
    else:
        _clear(visit.page)
    assert foreign == []
    assert problems == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Leave word for `page` whether the test itself failed."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if report.when == "call":
        item.stash[_failed] = report.failed
    return report  # type: ignore[return-value]


def _load(visit: Visit, url: str) -> None:
    visit.page.set_viewport_size(WIDE)
    visit.page.emulate_media(color_scheme="light")
    visit.page.goto(url)
    expect(visit.page.locator("#photo input[type=file]")).to_be_attached(timeout=3 * WAIT)


def _clear(page: Page) -> None:
    """Take the photo out of the tab "Segment", and its edits with it."""
    page.get_by_role("tab", name="Segment", exact=True).click()
    # By script: a notice that is fading already cannot be clicked.
    page.evaluate("document.querySelectorAll('.toast-close').forEach((button) => button.click())")
    if page.locator("#photo").get_by_label("Remove Image").count():
        page.locator("#photo").get_by_label("Remove Image").click()
    expect(page.locator("#segments .legend-item")).to_have_count(0, timeout=WAIT)
