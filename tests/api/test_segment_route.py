"""``POST /v1/segment`` over a real socket: every way in, every form out."""

from __future__ import annotations

from io import BytesIO

import httpx
import numpy as np
import pytest
from fake_segmenter import FakeSegmenter
from live_server import running
from PIL import Image
from sample_photo import photo

from api import ServiceSettings, create_app
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


def test_confidence_of_the_image_and_of_each_class(client: httpx.Client) -> None:
    body = client.post("/v1/segment", files={"image": PHOTO}).json()
    segmentation = FakeSegmenter()(np.asarray(Image.open(BytesIO(PHOTO)).convert("RGB")))
    assert body["confidence"] == pytest.approx(segmentation.image_confidence, abs=1e-5)
    assert body["abstained"] is None
    known = segmentation.class_confidence()
    assert {entry["id"]: entry["confidence"] for entry in body["classes"]} == {label: pytest.approx(value, abs=1e-5) for label, value in known.items()}


def test_abstain_withholds_the_class_where_confidence_is_low(client: httpx.Client) -> None:
    labels = expected(PHOTO)
    withheld = int((labels > 2).sum())  # 0.9, 0.8 and 0.7 are kept
    assert 0 < withheld < labels.size
    body = client.post("/v1/segment", files={"image": PHOTO}, data={"abstain": "0.65"}).json()
    assert body["abstained"] == {"below": 0.65, "pixels": withheld, "share": pytest.approx(withheld / labels.size, abs=1e-5)}
    assert body["ignored"] == {"pixels": 0, "share": 0}
    assert {entry["id"] for entry in body["classes"]} == set(np.unique(labels[labels <= 2]).tolist())
    assert body["confidence"] == client.post("/v1/segment", files={"image": PHOTO}).json()["confidence"]
    index = client.post("/v1/segment", files={"image": PHOTO}, params={"abstain": "0.65", "format": "index"})
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(index.content))), np.where(labels > 2, 255, labels))


def test_fade_takes_colour_from_the_overlay(client: httpx.Client) -> None:
    plain, faded = (client.post("/v1/segment", files={"image": PHOTO}, params={"format": "overlay", "fade": fade}).content for fade in ("0", "1"))
    photo_pixels = np.asarray(Image.open(BytesIO(PHOTO)).convert("RGB")).astype(int)
    far, near = (np.abs(np.asarray(Image.open(BytesIO(content))).astype(int) - photo_pixels).sum() for content in (plain, faded))
    assert near < far


@pytest.mark.parametrize(("option", "value"), [("abstain", "1.01"), ("abstain", "-0.1"), ("abstain", "nan"), ("abstain", "much"), ("fade", "2")])
def test_thresholds_out_of_range_are_refused(client: httpx.Client, option: str, value: str) -> None:
    answer = client.post("/v1/segment", files={"image": PHOTO}, data={option: value})
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == option
    assert option in answer.json()["error"]["message"]


def test_a_model_without_confidence_answers_null_and_refuses_to_abstain(settings: ServiceSettings) -> None:
    with running(create_app(settings, {"old": FakeSegmenter(has_confidence=False)})) as base, httpx.Client(base_url=base, timeout=30) as old:
        body = old.post("/v1/segment", files={"image": PHOTO}).json()
        assert body["confidence"] is None
        assert all(entry["confidence"] is None for entry in body["classes"])
        refused = old.post("/v1/segment", files={"image": PHOTO}, data={"abstain": "0.5"})
        assert refused.status_code == 422
        assert "table of agreement" in refused.json()["error"]["message"]
        assert old.post("/v1/segment", files={"image": PHOTO}, params={"format": "overlay", "fade": "1"}).status_code == 422
        assert [model["confidence"] for model in old.get("/v1/models").json()["models"]] == [False]
