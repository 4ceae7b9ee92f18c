"""The other tabs in headless Chromium: correspondences, features, folder, compare; on a phone and in the dark."""

from __future__ import annotations

import re
from zipfile import ZipFile

import pytest
from drawn_scene import drawn_scene
from page_steps import PHOTO, WAIT, choose, fetched, legend, notice, open_tab, segmented, shot, upload
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect

from ui.exports import choices

pytestmark = pytest.mark.browser

PHONE = 360  # pixels: the narrowest that many have
_STICKING_OUT = """(width) => [...document.querySelectorAll("#tabs .block")]
    .filter((part) => part.checkVisibility() && part.getBoundingClientRect().right > width)
    .map((part) => part.id || part.outerHTML.slice(0, 100))"""
_TEXT_WIDTH = """(input) => {
    const context = document.createElement("canvas").getContext("2d");
    context.font = getComputedStyle(input).font;
    return context.measureText(input.value).width;
}"""


def formats_are_readable(page: Page, dropdown: str) -> None:
    """Each name of a format is seen whole once it is chosen."""
    box = page.locator(f"{dropdown} input")
    for text, _ in choices():
        choose(page, dropdown, text)
        expect(box).to_have_value(text)
        caret = 24  # pixels that the arrow lies over
        assert box.evaluate(_TEXT_WIDTH) <= box.evaluate("(input) => input.clientWidth") - caret, text


def scene(seed: int) -> FilePayload:
    from io import BytesIO

    stream = BytesIO()
    Image.fromarray(drawn_scene(seed, 240, 320)).save(stream, "PNG")
    return {"name": f"scene-{seed}.png", "mimeType": "image/png", "buffer": stream.getvalue()}


def brightness(page: Page, picture: str, x: float, y: float) -> float:
    """Mean of red and green around a point (shares of width and height) of an image on the page, read from its pixels."""
    script = """([selector, x, y]) => {
        const image = document.querySelector(selector + " img"), canvas = document.createElement("canvas");
        canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0);
        const pixels = context.getImageData(x * canvas.width - 3, y * canvas.height - 3, 7, 7).data;
        let sum = 0;
        for (let i = 0; i < pixels.length; i += 4) sum += pixels[i] + pixels[i + 1];
        return sum / pixels.length * 2;
    }"""
    return float(page.evaluate(script, [picture, x, y]))


def test_a_click_shows_what_corresponds_in_both_photos(page: Page) -> None:
    upload(page, scene(0))
    expect(page.locator("#status")).to_contain_text("320 × 240", timeout=WAIT)
    open_tab(page, "Correspondences")
    expect(page.locator("#pair-view-0 img")).to_be_visible(timeout=WAIT)  # the photo of the tab Segment
    page.set_input_files("#pair-drop-1 input[type=file]", scene(1))
    second = page.locator("#pair-view-1 img")
    expect(second).to_be_visible(timeout=WAIT)
    expect(page.locator("#pair-status")).to_contain_text("second photo")
    first = page.locator("#pair-view-0 img")
    box = first.bounding_box()
    assert box is not None
    for place, glows, stays_dark in ((0.35, 0.3, 0.95), (0.95, 0.95, 0.3)):  # sky, then meadow
        before = second.get_attribute("src")
        first.click(position={"x": box["width"] * 0.05, "y": box["height"] * place})
        expect(second).not_to_have_attribute("src", str(before), timeout=WAIT)
        page.wait_for_function("document.querySelector('#pair-view-1 img').complete")
        assert brightness(page, "#pair-view-1", 0.03, glows) > brightness(page, "#pair-view-1", 0.03, stays_dark) + 40
    expect(page.locator("#pair-status")).to_contain_text(re.compile(r"second photo: cosine 0\.9\d|1\.00"))
    shot(page, "correspondences")
    page.get_by_role("button", name="Move the point without a mouse").click()
    before = second.get_attribute("src")
    page.locator("#pair-down input[type=range]").focus()
    page.keyboard.press("Home")
    expect(second).not_to_have_attribute("src", str(before), timeout=WAIT)
    page.locator("#pair-change-1").click()
    expect(page.locator("#pair-drop-1 input[type=file]")).to_be_attached(timeout=WAIT)
    expect(page.locator("#pair-status")).to_contain_text("Drop a second photo")
    page.set_input_files("#pair-drop-1 input[type=file]", {"name": "text.png", "mimeType": "image/png", "buffer": b"no image"})
    assert "text.png: not an image" in notice(page)


def test_features_as_colours(page: Page) -> None:
    open_tab(page, "Features")
    page.set_input_files("#feature-files input[type=file]", [scene(0), scene(1)])
    expect(page.locator("#feature-gallery img")).to_have_count(2, timeout=WAIT)
    expect(page.locator("#feature-status")).to_contain_text("components 1 to 3")
    before = page.locator("#feature-gallery img").first.get_attribute("src")
    page.get_by_label("Segmenter's codes").last.check()
    expect(page.locator("#feature-gallery img").first).not_to_have_attribute("src", str(before), timeout=WAIT)
    shot(page, "features")


def test_a_folder_becomes_an_album(page: Page) -> None:
    open_tab(page, "Folder")
    page.locator("#folder-given").click()
    expect(page.locator("#folder-progress")).to_contain_text("3 of 3 · done", timeout=WAIT)
    expect(page.locator("#album img")).to_have_count(3)
    expect(page.locator("#album-legend li")).to_have_count(3)
    labels = ZipFile(fetched(page, "#album-download").path())
    assert sorted(labels.namelist()) == ["classes.csv", "labels/bed-0.png", "labels/bed-1.png", "labels/bed-2.png"]

    text = {"name": "text.png", "mimeType": "image/png", "buffer": b"no image"}
    page.set_input_files("#folder-files input[type=file]", [PHOTO, text])  # type: ignore[list-item]
    expect(page.locator("#folder-files")).to_contain_text("text", timeout=WAIT)
    page.locator("#folder-start").click()
    expect(page.locator("#folder-progress")).to_contain_text("2 of 2 · done", timeout=WAIT)
    expect(page.locator("#folder-progress")).to_contain_text("text.png: not an image")
    shot(page, "folder")
    page.locator("#album button img").first.click()
    page.locator("#album-edit").click()
    expect(page.locator("#status")).to_contain_text("320 × 240 pixels", timeout=WAIT)
    segmented(page)


def test_two_settings_side_by_side(page: Page) -> None:
    upload(page)
    segmented(page)
    open_tab(page, "Compare")
    expect(page.locator("#compare-left img")).to_be_visible(timeout=WAIT)
    expect(page.locator("#compare-status")).to_contain_text("They agree on 100 %", timeout=WAIT)
    page.locator("#compare-classes-right input[type=number]").fill("1")
    page.keyboard.press("Enter")
    expect(page.locator("#compare-status")).to_contain_text(re.compile(r"They agree on \d\d % .* 3 and 1 classes"), timeout=WAIT)
    expect(page.locator("#compare-differing img")).to_be_visible()
    shot(page, "compare")


def test_on_a_phone_and_in_the_dark_nothing_sticks_out(page: Page) -> None:
    upload(page)
    segmented(page)
    page.set_viewport_size({"width": PHONE, "height": 800})
    page.emulate_media(color_scheme="dark")
    tops = [page.locator(part).bounding_box()["y"] for part in ("#photo-part", "#result-part", "#settings-part", "#editing-part")]  # type: ignore[index]
    assert tops == sorted(tops)
    for name in ("Segment", "Correspondences", "Features", "Folder", "Compare"):
        tab = page.get_by_role("tab", name=name, exact=True)
        if not tab.is_visible():
            page.locator("#tabs .overflow-menu > button").first.click()
            tab = page.locator("#tabs .overflow-dropdown button").filter(has_text=name)
        tab.click()
        if name == "Folder":
            page.locator("#folder-examples").click()
            expect(page.locator("#folder-progress")).to_contain_text("done", timeout=WAIT)
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE, name
        assert page.evaluate(_STICKING_OUT, PHONE) == [], name
        if name == "Folder":
            formats_are_readable(page, "#album-format")
        shot(page, f"phone-{name}")
    open_tab(page, "Segment")
    formats_are_readable(page, "#format")
    shot(page, "phone-formats")
    color = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(value) for value in re.findall(r"\d+", color)[:3]) < 60
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")
    open_tab(page, "Segment")
    assert legend(page).count() == 3


def test_every_control_has_a_name(page: Page) -> None:
    script = """() => [...document.querySelectorAll("button, input, textarea, select")].filter((control) => {
        if (!control.checkVisibility()) return false;
        const label = control.getAttribute("aria-label") || control.getAttribute("aria-labelledby") || control.closest("label")?.textContent;
        return !(label || control.labels?.length || control.textContent.trim() || control.title || control.placeholder || control.querySelector("img[alt]"));
    }).map((control) => control.outerHTML.slice(0, 200))"""
    upload(page)
    segmented(page)
    for name in ("Segment", "Correspondences", "Features", "Folder", "Compare"):
        open_tab(page, name)
        page.wait_for_timeout(200)
        assert page.evaluate(script) == [], name
