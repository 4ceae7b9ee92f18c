"""Steps that several browser tests take.

With the environment variable ``STEGO_SCREENSHOTS`` naming a folder, `shot` writes screenshots there to be looked at.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Download, FilePayload, Locator, Page, expect
from sample_photo import photo

WAIT = 60_000  # a busy machine is no fault of the page
PHOTO: FilePayload = {"name": "garden.png", "mimeType": "image/png", "buffer": photo(240, 320)}


@dataclass
class Site:
    """A served page, and the folders it was started with."""

    url: str
    models: Path
    folder: Path


@dataclass
class Visit:
    """A browser's page, what it asked for, and what went wrong in it."""

    page: Page
    requests: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def upload(page: Page, file: FilePayload = PHOTO) -> None:
    page.set_input_files("#photo input[type=file]", file)


def legend(page: Page) -> Locator:
    return page.locator("#segments .legend-item")


def segmented(page: Page, classes: int = 3) -> None:
    expect(legend(page)).to_have_count(classes, timeout=WAIT)
    expect(page.locator("#status")).to_contain_text(f"{classes} of")


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def choose(page: Page, dropdown: str, option: str) -> None:
    """Pick an option of one of Gradio's dropdowns by keyboard."""
    box = page.locator(f"{dropdown} input")
    box.click()
    page.get_by_role("option", name=option, exact=False).first.click()


def fetched(page: Page, button: str) -> Download:
    with page.expect_download() as waiting:
        page.locator(button).click()
    return waiting.value


def notice(page: Page) -> str:
    toast = page.locator(".toast-body").last
    expect(toast).to_be_visible(timeout=WAIT)
    return toast.inner_text()


def shot(page: Page, name: str) -> None:
    folder = os.environ.get("STEGO_SCREENSHOTS")
    if folder:
        page.wait_for_timeout(800)  # fades end
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)
