"""The tab "Segment" in headless Chromium: it works, it asks nobody else, it speaks plainly of what went wrong."""

from __future__ import annotations

import json
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fake_segmenter import FakeSegmenter
from page_steps import PHOTO, WAIT, Site, choose, fetched, legend, notice, segmented, shot, upload
from PIL import Image
from playwright.sync_api import Page, expect
from sample_photo import photo

pytestmark = pytest.mark.browser


def test_a_photo_becomes_segments_with_a_legend(page: Page) -> None:
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
    expect(page.locator("#status")).to_contain_text("confidence")
    shot(page, "segments")
    page.get_by_role("tab", name="Before / after").click()
    expect(page.locator("#wipe img")).to_have_count(2, timeout=WAIT)
    shot(page, "before-after")
    page.get_by_label("Rough | sharpened borders").check()
    page.get_by_role("tab", name="Segments", exact=True).click()
    page.get_by_label("Remove Image").click()
    expect(legend(page)).to_have_count(0, timeout=WAIT)
    expect(page.locator("#editing-part")).to_be_hidden()


def test_the_sliders(page: Page) -> None:
    upload(page)
    segmented(page)
    page.locator("#classes input[type=range]").focus()
    for _ in range(7):
        page.keyboard.press("ArrowLeft")
    segmented(page, 2)
    expect(page.locator("#status")).to_contain_text("2 of 2 classes")
    page.locator("#crf input[type=number]").fill("0")
    page.keyboard.press("Enter")
    page.locator("#classes input[type=number]").fill("9")
    page.keyboard.press("Enter")
    segmented(page, 3)
    expect(page.locator("#status")).to_contain_text("3 of 9 classes")
    for control in ("#alpha", "#fade"):
        before = page.locator("#segments img.mask").last.get_attribute("src")
        page.locator(f"{control} input[type=range]").focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#segments img.mask").last).not_to_have_attribute("src", str(before), timeout=WAIT)


def test_models_differ_in_what_they_can_tell(page: Page) -> None:
    upload(page)
    segmented(page)
    choose(page, "#model", "unsure")
    expect(page.locator("#status")).to_contain_text("cannot tell its confidence", timeout=WAIT)
    expect(page.locator("#fade input[type=range]")).to_be_disabled()
    expect(page.locator("#fade")).to_contain_text("train it again")
    choose(page, "#model", "single")
    segmented(page, 1)
    expect(page.locator("#classes input[type=range]")).to_be_disabled()
    expect(page.locator("#status")).to_contain_text("1 of 1 classes")
    choose(page, "#model", "default")
    segmented(page)
    expect(page.locator("#fade input[type=range]")).to_be_enabled()


def test_classes_are_edited_with_undo_and_saved_for_rest(page: Page, site: Site) -> None:
    upload(page)
    segmented(page)
    expect(page.locator("#undo")).to_be_disabled()
    first, second, third = legend(page).all_inner_texts()

    # A click in the middle of the grass, in the annotated picture itself.
    frame = page.locator("#segments img.mask").first.bounding_box()
    assert frame is not None
    page.mouse.click(frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] * 0.9)
    expect(page.locator("#chosen .token")).to_have_count(1)
    grass = FakeSegmenter()(np.asarray(Image.open(BytesIO(PHOTO["buffer"]))))
    expect(page.locator("#chosen .token")).to_contain_text(grass.names[int(grass.labels[-1, 160])])
    page.locator("#name textarea, #name input").fill("grass <b>")
    page.locator("#rename").click()
    expect(legend(page).filter(has_text="grass <b>")).to_have_count(1, timeout=WAIT)
    expect(page.locator("#undo")).to_have_text("Undo (1)")

    legend(page).nth(0).click()
    expect(page.locator("#chosen .token")).to_have_count(1)
    before = legend(page).nth(0).get_attribute("style")
    page.locator("#recolour").click()
    expect(legend(page).nth(0)).not_to_have_attribute("style", str(before), timeout=WAIT)
    shot(page, "renamed")

    page.locator("#save-name textarea, #save-name input").fill("our-garden")
    page.locator("#save").click()
    expect(page.locator("#saved")).to_contain_text("model=our-garden", timeout=WAIT)
    kept = json.loads((site.models / "our-garden.safetensors").read_text())
    assert [edit["op"] for edit in kept] == ["rename", "recolour"]

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
    for done, left in ((3, 2), (2, 3), (1, 3), (0, 3)):
        page.locator("#undo").click()
        expect(page.locator("#undo")).to_have_text(f"Undo ({done})" if done else "Undo", timeout=WAIT)
        segmented(page, left)
    assert legend(page).all_inner_texts() == [first, second, third]
    page.locator("#merge").click()
    assert "choose a class first" in notice(page)


def test_the_overlay_chooses_a_class_too(page: Page) -> None:
    upload(page)
    segmented(page)
    page.get_by_role("tab", name="Overlay").click()
    picture = page.locator("#overlay img")
    expect(picture).to_be_visible()
    box = picture.bounding_box()
    assert box is not None
    picture.click(position={"x": box["width"] / 2, "y": box["height"] * 0.9})
    expect(page.locator("#chosen .token")).to_have_count(1)
    page.get_by_role("tab", name="Segments", exact=True).click()


def test_downloads_hold_the_classes(page: Page) -> None:
    upload(page)
    segmented(page)
    labels = FakeSegmenter()(np.asarray(Image.open(BytesIO(PHOTO["buffer"])))).labels
    index = fetched(page, "#download")
    assert index.suggested_filename == "garden-classes.png"
    np.testing.assert_array_equal(np.asarray(Image.open(index.path())), labels)
    choose(page, "#format", "coco –")
    coco = fetched(page, "#download")
    assert coco.suggested_filename == "garden-coco.json"
    areas = sorted(entry["area"] for entry in json.loads(Path(coco.path()).read_text())["annotations"])
    assert areas == sorted(np.unique(labels, return_counts=True)[1].tolist())
    legend(page).nth(0).click()
    expect(page.locator("#chosen .token")).to_have_count(1)
    page.locator("#name textarea, #name input").fill("grass")
    page.locator("#rename").click()
    expect(legend(page).filter(has_text="grass")).to_have_count(1, timeout=WAIT)
    shot(page, "downloads")
    segmenter = fetched(page, "#segmenter-file")
    assert segmenter.suggested_filename == "default-edited.safetensors"
    assert [edit["name"] for edit in json.loads(Path(segmenter.path()).read_text())] == ["grass"]


def test_bad_files_are_told_in_one_line(page: Page) -> None:
    noise = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)).save(noise, "PNG")
    bad = {"not an image": b"this is a text renamed to .jpg", "truncated or damaged": photo(240, 320)[:150], "more than 600,000": photo(900, 900)}
    for reason, data in bad.items():
        upload(page, {"name": "holiday.jpg", "mimeType": "image/jpeg", "buffer": data})
        expect(page.locator(".toast-body").filter(has_text=reason)).to_be_visible(timeout=WAIT)
        text = notice(page)
        assert "holiday.jpg" in text
        assert "Traceback" not in text
        assert "/tmp" not in text
        expect(page.locator("#photo img")).to_have_count(0)  # cleared away, not shown as a broken picture
        expect(page.locator("#photo input[type=file]")).to_be_attached(timeout=WAIT)
    shot(page, "bad-files")
    upload(page)
    segmented(page)


def test_a_file_of_too_many_bytes_is_refused(page: Page) -> None:
    noise = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)).save(noise, "PNG")
    upload(page, {"name": "noise.png", "mimeType": "image/png", "buffer": noise.getvalue()})
    assert re.search("size|large", notice(page))
    page.reload()  # Gradio leaves its own upload bar standing
    expect(page.locator("#photo input[type=file]")).to_be_attached(timeout=WAIT)


def test_by_keyboard_alone(page: Page) -> None:
    parts = "#photo, #classes, #crf, #alpha, #examples, [role=tablist]"
    where = f"document.activeElement.closest('{parts}')?.id || document.activeElement.role"
    seen: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(where))
    order = [seen.index(part) for part in ("tab", "photo", "examples", "classes", "crf", "alpha")]
    assert order == sorted(order)
    page.locator("#examples button").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("640 × 427 pixels", timeout=WAIT)
    assert legend(page).count() >= 2
