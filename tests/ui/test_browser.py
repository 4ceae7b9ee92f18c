"""The page in headless Chromium: it works, it asks nobody else, it speaks plainly of what went wrong.

With the environment variable ``STEGO_SCREENSHOTS`` naming a folder, screenshots are written there to be looked at.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_segmenter import FakeSegmenter
from live_server import running
from PIL import Image
from playwright.sync_api import Browser, Download, FilePayload, Locator, Page, expect
from sample_photo import photo

from api import ServiceSettings, create_app

pytestmark = pytest.mark.browser

PHOTO: FilePayload = {"name": "garden.png", "mimeType": "image/png", "buffer": photo(240, 320)}
WAIT = 20_000


@contextmanager
def opened(browser: Browser, url: str, **context: Any) -> Iterator[Page]:
    """A fresh tab on the page; asserts at the end that every request went to the service and no script failed."""
    requests: list[str] = []
    failures: list[str] = []
    tab = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
    try:
        page = tab.new_page()
        page.set_default_timeout(WAIT)
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("console", lambda message: failures.append(message.text) if message.type == "error" else None)
        page.goto(url)
        expect(page.locator("#photo input[type=file]")).to_be_attached(timeout=WAIT)
        yield page
        assert len(requests) > 5
        assert [asked for asked in requests if not asked.startswith((url, "data:", "blob:"))] == []
        assert failures == []
    finally:
        tab.close()


def upload(page: Page, file: FilePayload = PHOTO) -> None:
    page.set_input_files("#photo input[type=file]", file)


def legend(page: Page) -> Locator:
    return page.locator("#segments .legend-item")


def segmented(page: Page, classes: int = 3) -> None:
    expect(legend(page)).to_have_count(classes, timeout=WAIT)
    expect(page.locator("#status")).to_contain_text(f"{classes} of")


def notice(page: Page) -> str:
    toast = page.locator(".toast-body").first
    expect(toast).to_be_visible(timeout=WAIT)
    return toast.inner_text()


def shot(page: Page, name: str) -> None:
    folder = os.environ.get("STEGO_SCREENSHOTS")
    if folder:
        page.wait_for_timeout(800)  # fades end
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def test_a_photo_becomes_segments_with_a_legend(chromium: Browser, page_url: str) -> None:
    with opened(chromium, page_url) as page:
        expect(page).to_have_title(re.compile("segments without labels"))
        shot(page, "empty")
        expect(page.locator("#editing-part")).to_be_hidden()
        upload(page)
        segmented(page)
        texts = legend(page).all_inner_texts()
        assert all(re.fullmatch(r"class \d+ · \d+ %", text) for text in texts), texts
        assert sum(int(re.search(r"(\d+) %", text).group(1)) for text in texts) in range(98, 103)  # type: ignore[union-attr]
        expect(page.locator("#segments img.mask")).to_have_count(3)
        expect(page.locator("#status")).to_contain_text("320 × 240 pixels · 3 of 9 classes")
        shot(page, "segments")
        page.get_by_role("tab", name="Overlay").click()
        expect(page.locator("#overlay img")).to_be_visible()
        shot(page, "overlay")


def test_the_sliders_and_the_switch(chromium: Browser, page_url: str) -> None:
    with opened(chromium, page_url) as page:
        upload(page)
        segmented(page)
        slider = page.locator("#classes input[type=range]")
        slider.focus()
        for _ in range(7):
            page.keyboard.press("ArrowLeft")
        segmented(page, 2)
        expect(page.locator("#status")).to_contain_text("2 of 2 classes")
        page.locator("#classes input[type=number]").fill("27")
        page.keyboard.press("Enter")
        segmented(page, 3)
        expect(page.locator("#status")).to_contain_text("3 of 27 classes")
        page.locator("#crf input").uncheck()
        segmented(page, 3)
        before = page.locator("#segments img.mask").first.get_attribute("src")
        page.locator("#alpha input[type=range]").focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#segments img.mask").first).not_to_have_attribute("src", str(before), timeout=WAIT)


def test_fading_uncertain_pixels(chromium: Browser, page_url: str) -> None:
    with opened(chromium, page_url) as page:
        upload(page)
        segmented(page)
        expect(page.locator("#status")).to_contain_text("confidence")
        before = page.locator("#segments img.mask").last.get_attribute("src")
        page.locator("#fade input[type=number]").fill("1")
        page.keyboard.press("Enter")
        expect(page.locator("#segments img.mask").last).not_to_have_attribute("src", str(before), timeout=WAIT)
        shot(page, "faded")


def test_a_model_that_cannot_tell_confidence_says_so(chromium: Browser) -> None:
    with running(create_app(ServiceSettings(), {"default": FakeSegmenter(has_confidence=False)})) as url, opened(chromium, url) as page:
        expect(page.locator("#fade input[type=range]")).to_be_disabled()
        expect(page.locator("#fade")).to_contain_text("train it again")
        upload(page)
        segmented(page)
        expect(page.locator("#status")).to_contain_text("cannot tell its confidence")


def test_a_segmenter_of_one_fine_cluster(chromium: Browser) -> None:
    with (
        running(create_app(ServiceSettings(), {"default": FakeSegmenter(default_classes=1, max_classes=1)})) as url,
        opened(chromium, url) as page,
    ):
        upload(page)
        segmented(page, 1)
        expect(page.locator("#classes input[type=range]")).to_be_disabled()
        page.locator("#crf input").uncheck()
        expect(page.locator("#status")).to_contain_text("1 of 1 classes")
        shot(page, "one-class")


def test_an_example_works_without_a_network(chromium: Browser, page_url: str) -> None:
    with opened(chromium, page_url) as page:
        examples = page.locator("#examples button")
        assert examples.count() >= 3
        examples.first.click()
        expect(page.locator("#status")).to_contain_text("640 × 427 pixels", timeout=WAIT)
        assert legend(page).count() >= 2


def test_classes_are_edited_with_undo(chromium: Browser, page_url: str) -> None:
    with opened(chromium, page_url) as page:
        upload(page)
        segmented(page)
        expect(page.locator("#undo")).to_be_disabled()
        first, second, third = legend(page).all_inner_texts()

        legend(page).nth(0).click()
        expect(page.locator("#chosen .token")).to_have_count(1)
        page.locator("#name textarea, #name input").fill("grass <b>")
        page.locator("#rename").click()
        expect(legend(page).filter(has_text="grass <b>")).to_have_count(1, timeout=WAIT)
        expect(page.locator("#undo")).to_have_text("Undo (1)")
        shot(page, "renamed")

        legend(page).nth(1).click()
        expect(page.locator("#chosen .token")).to_have_count(1)
        legend(page).nth(2).click()
        expect(page.locator("#chosen .token")).to_have_count(2)
        page.locator("#merge").click()
        segmented(page, 2)

        legend(page).nth(0).click()
        expect(page.locator("#chosen .token")).to_have_count(1)
        page.locator("#ignore").click()
        segmented(page, 1)
        for left in (2, 3, 3):
            page.locator("#undo").click()
            segmented(page, left)
            page.wait_for_timeout(300)
        expect(page.locator("#undo")).to_be_disabled()
        assert legend(page).all_inner_texts() == [first, second, third]

        page.locator("#merge").click()
        assert "choose a class first" in notice(page)


def test_the_picture_chooses_a_class(chromium: Browser, page_url: str) -> None:
    with opened(chromium, page_url) as page:
        upload(page)
        segmented(page)
        page.get_by_role("tab", name="Overlay").click()
        picture = page.locator("#overlay img")
        expect(picture).to_be_visible()
        box = picture.bounding_box()
        assert box is not None
        picture.click(position={"x": box["width"] / 2, "y": box["height"] * 0.9})
        expect(page.locator("#chosen .token")).to_have_count(1)
        grass = FakeSegmenter()(np.asarray(Image.open(BytesIO(PHOTO["buffer"]))))
        expect(page.locator("#chosen .token")).to_contain_text(grass.names[int(grass.labels[-1, 160])])


def test_downloads_hold_the_classes(chromium: Browser, page_url: str) -> None:
    with opened(chromium, page_url) as page:
        upload(page)
        segmented(page)

        def fetched(button: str) -> Download:
            with page.expect_download() as waiting:
                page.locator(button).click()
            return waiting.value

        index = fetched("#index-file")
        assert index.suggested_filename == "garden-classes.png"
        image = np.asarray(Image.open(BytesIO(PHOTO["buffer"])))
        np.testing.assert_array_equal(np.asarray(Image.open(index.path())), FakeSegmenter()(image).labels)
        overlay = fetched("#overlay-file")
        assert overlay.suggested_filename == "garden-overlay.jpg"
        assert Image.open(overlay.path()).size == (320, 240)

        legend(page).nth(0).click()
        expect(page.locator("#chosen .token")).to_have_count(1)
        page.locator("#name textarea, #name input").fill("grass")
        page.locator("#rename").click()
        expect(legend(page).filter(has_text="grass")).to_have_count(1, timeout=WAIT)
        shot(page, "downloads")
        segmenter = fetched("#segmenter-file")
        assert segmenter.suggested_filename == "default-edited.safetensors"
        edits = json.loads(Path(segmenter.path()).read_text())
        assert [edit["name"] for edit in edits] == ["grass"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"this is a text renamed to .jpg", "not an image"),
        (photo(240, 320)[:150], "truncated or damaged"),
        (photo(900, 900), "more than 600,000"),
    ],
    ids=["text", "truncated", "too many pixels"],
)
def test_a_bad_file_is_told_in_one_line(chromium: Browser, page_url: str, data: bytes, reason: str) -> None:
    with opened(chromium, page_url) as page:
        upload(page, {"name": "holiday.jpg", "mimeType": "image/jpeg", "buffer": data})
        text = notice(page)
        assert reason in text, text
        assert "holiday.jpg" in text
        assert "Traceback" not in text
        assert "/tmp" not in text
        expect(page.locator("#photo img")).to_have_count(0)  # cleared away, not shown as a broken picture
        shot(page, f"bad-{reason.split()[0]}")
        expect(page.locator("#photo input[type=file]")).to_be_attached(timeout=WAIT)
        upload(page)
        segmented(page)


def test_removing_the_photo_takes_the_result_away(chromium: Browser, page_url: str) -> None:
    with opened(chromium, page_url) as page:
        upload(page)
        segmented(page)
        page.get_by_label("Remove Image").click()
        expect(legend(page)).to_have_count(0, timeout=WAIT)
        expect(page.locator("#editing-part")).to_be_hidden()


def test_a_file_of_too_many_bytes_is_refused(chromium: Browser, page_url: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    with opened(chromium, page_url) as page:
        upload(page, {"name": "noise.png", "mimeType": "image/png", "buffer": buffer.getvalue()})
        assert re.search("size|large", notice(page))
        shot(page, "bad-bytes")


def test_on_a_phone_nothing_sticks_out(chromium: Browser, page_url: str) -> None:
    with opened(chromium, page_url, viewport={"width": 375, "height": 740}, has_touch=True, is_mobile=True) as page:
        upload(page)
        segmented(page)
        shot(page, "phone")
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        tops = [page.locator(part).bounding_box()["y"] for part in ("#photo-part", "#result-part", "#settings-part", "#editing-part")]  # type: ignore[index]
        assert tops == sorted(tops)


def test_in_the_dark(chromium: Browser, page_url: str) -> None:
    with opened(chromium, page_url, color_scheme="dark") as page:
        upload(page)
        segmented(page)
        shot(page, "dark")
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert max(int(value) for value in re.findall(r"\d+", color)[:3]) < 60


def test_by_keyboard_alone(chromium: Browser, page_url: str) -> None:
    with opened(chromium, page_url) as page:
        parts = "#photo, #classes, #crf, #alpha, #examples, [role=tablist]"
        where = f"document.activeElement.closest('{parts}')?.id || document.activeElement.role"
        seen: set[str] = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            seen.add(page.evaluate(where))
        assert {"photo", "classes", "crf", "alpha", "examples", "tab"} <= seen
        page.locator("#examples button").first.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#status")).to_contain_text("640 × 427 pixels", timeout=WAIT)
