"""``POST /v1/segment`` over a real socket: every way in, every form out."""

from __future__ import annotations

from io import BytesIO

import httpx
import numpy as np
import pytest
from fake_segmenter import FakeSegmenter
from PIL import Image
from sample_photo import photo

from api.negotiation import OVERLAY

PHOTO = photo()


def expected(image: bytes, classes: int | None = None) -> np.ndarray:
    return FakeSegmenter()(np.asarray(Image.open(BytesIO(image)).convert("RGB")), classes=classes).labels


def test_multipart_gives_a_summary_that_adds_up(client: httpx.Client) -> None:
    answer = client.post("/v1/segment", files={"image": ("photo.png", PHOTO, "image/png")}, data={"classes": "12", "crf": "false"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    labels = expected(PHOTO, 12)
    assert (body["width"], body["height"], body["model"], body["granularity"]) == (80, 60, "default", 12)
    assert {entry["id"]: entry["pixels"] for entry in body["classes"]} == {int(k): int(n) for k, n in zip(*np.unique(labels, return_counts=True), strict=True)}
    assert sum(entry["share"] for entry in body["classes"]) == pytest.approx(1)
    assert [entry["pixels"] for entry in body["classes"]] == sorted((entry["pixels"] for entry in body["classes"]), reverse=True)
    assert all(entry["score"] == pytest.approx(0.7) for entry in body["classes"])
    assert body["ignored"] == {"pixels": 0, "share": 0}
    assert set(body["timing_ms"]) == {"queue", "decode", "segment"}


@pytest.mark.parametrize("content_type", ["image/png", "image/anything", "application/octet-stream"])
def test_raw_bytes_give_the_same(client: httpx.Client, content_type: str) -> None:
    raw = client.post("/v1/segment?classes=12", content=PHOTO, headers={"Content-Type": content_type}).json()
    form = client.post("/v1/segment?classes=12", files={"image": PHOTO}).json()
    assert raw["classes"] == form["classes"]


@pytest.mark.parametrize("how", [{"params": {"format": "index"}}, {"headers": {"Accept": "image/png"}}])
def test_the_index_png_holds_the_labels_and_the_palette(client: httpx.Client, how: dict) -> None:
    answer = client.post("/v1/segment", files={"image": PHOTO}, **how)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["vary"] == "Accept"
    assert "segment;dur=" in answer.headers["server-timing"]
    picture = Image.open(BytesIO(answer.content))
    assert picture.mode == "P"
    np.testing.assert_array_equal(np.asarray(picture), expected(PHOTO))
    colors = np.asarray(picture.getpalette()).reshape(-1, 3)
    np.testing.assert_array_equal(colors[:9], FakeSegmenter().table().palette)


@pytest.mark.parametrize(
    ("how", "media_type"),
    [({"params": {"format": "overlay", "alpha": "1"}}, "image/png"), ({"headers": {"Accept": OVERLAY}, "params": {"alpha": "1"}}, OVERLAY)],
)
def test_the_overlay_shows_the_colours(client: httpx.Client, how: dict, media_type: str) -> None:
    answer = client.post("/v1/segment", files={"image": PHOTO}, **how)
    assert answer.headers["content-type"] == media_type
    pixels = np.asarray(Image.open(BytesIO(answer.content)))
    np.testing.assert_array_equal(pixels, FakeSegmenter().table().palette[expected(PHOTO)])


def test_format_wins_over_accept(client: httpx.Client) -> None:
    answer = client.post("/v1/segment", files={"image": PHOTO}, data={"format": "index"}, headers={"Accept": "application/json"})
    assert answer.headers["content-type"] == "image/png"


def test_another_model_by_name(client: httpx.Client) -> None:
    body = client.post("/v1/segment", files={"image": PHOTO}, params={"model": "fine"}).json()
    assert (body["model"], body["granularity"]) == ("fine", 20)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_usual_formats_are_read(client: httpx.Client, kind: str) -> None:
    assert client.post("/v1/segment", content=photo(kind=kind), headers={"Content-Type": "image/x"}).status_code == 200


def test_an_image_is_turned_upright(client: httpx.Client) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    buffer = BytesIO()
    Image.open(BytesIO(PHOTO)).save(buffer, "JPEG", exif=exif)
    body = client.post("/v1/segment", files={"image": buffer.getvalue()}).json()
    assert (body["width"], body["height"]) == (60, 80)


def test_ids_and_safe_headers(client: httpx.Client) -> None:
    kept = client.get("/health", headers={"X-Request-ID": "abc-123"})
    assert kept.headers["x-request-id"] == "abc-123"
    assert kept.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in client.get("/health", headers={"Origin": "http://elsewhere.example"}).headers
    replaced = client.get("/health", headers={"X-Request-ID": 'x" evil'})
    assert len(replaced.headers["x-request-id"]) == 32
