"""JSON in, masks out: the forms that other tools read, checked by their own readers."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from fake_segmenter import FakeSegmenter
from PIL import Image
from pycocotools import mask as coco_mask
from sample_photo import photo

from api.negotiation import COCO, HUGGING_FACE
from api.schemas import CocoDocument, HuggingFaceSegment

PHOTO = photo()
TEXT = base64.b64encode(PHOTO).decode()


def labels(classes: int | None = None) -> np.ndarray:
    return FakeSegmenter()(np.asarray(Image.open(BytesIO(PHOTO)).convert("RGB")), classes=classes).labels


@pytest.mark.parametrize("text", [TEXT, f"data:image/png;base64,{TEXT}", "\n".join(TEXT[start : start + 76] for start in range(0, len(TEXT), 76))])
def test_an_image_in_json_gives_what_raw_bytes_give(client: httpx.Client, text: str) -> None:
    answer = client.post("/v1/segment", json={"image": text, "classes": 12, "crf": False})
    assert answer.status_code == 200, answer.text
    raw = client.post("/v1/segment?classes=12&crf=false", content=PHOTO, headers={"Content-Type": "image/png"}).json()
    assert answer.json()["classes"] == raw["classes"]
    assert answer.json()["granularity"] == 12


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({}, 422, "missing_image", "image"),
        ({"image": TEXT, "inputs": TEXT}, 422, "missing_image", "image"),
        ({"image": "not base64!"}, 422, "not_base64", "image"),
        ({"image": 7}, 422, "not_base64", "image"),
        ({"image": ""}, 400, "empty_image", "image"),
        ({"image": base64.b64encode(b"a text").decode()}, 415, "not_an_image", "image"),
        ({"image": TEXT, "classes": 0}, 422, "invalid_option", "classes"),
        ({"image": TEXT, "classes": [3]}, 422, "invalid_option", "classes"),
        ({"image": TEXT, "clases": 3}, 422, "unknown_option", "clases"),
        ({"inputs": TEXT, "parameters": [3]}, 422, "invalid_option", "parameters"),
        ({"inputs": TEXT, "parameters": {"clases": 3}}, 422, "unknown_option", "clases"),
        ({"url": 3}, 422, "invalid_url", "url"),
        ({"url": "http://example.org/a.png"}, 403, "url_not_allowed", "url"),
        ([TEXT], 422, "not_an_object", None),
        ("text", 422, "not_an_object", None),
    ],
)
def test_json_that_is_not_as_expected(client: httpx.Client, body: Any, status: int, code: str, field: str | None) -> None:
    answer = client.post("/v1/segment", json=body)
    assert (answer.status_code, answer.json()["error"]["code"], answer.json()["error"]["field"]) == (status, code, field), answer.text


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"image": NaN}', b'{"classes": ' + b"9" * 10_000 + b"}", b'{"image": "\\ud800"}'])
def test_what_is_no_json(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/v1/segment", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_json"), answer.text


@pytest.mark.parametrize("body", [b'{"image": [' + b"[]," * 40_000 + b"[]]}", b"{" + b'"a":0,' * 40_000 + b'"a":0}'])
def test_json_of_very_many_parts_is_not_read(client: httpx.Client, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading millions of lists or members takes many seconds in which nothing else in the process gets on."""
    monkeypatch.setattr("api.json_body.MOST_PARTS", 30_000)
    for path in ("/v1/segment", "/predict", "/xanylabeling/v1/predict"):
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400
        assert "30,000" in answer.json()["error"]["message"]


def test_base64_may_be_as_large_as_the_image_it_holds(client: httpx.Client) -> None:
    """The limit of 300,000 bytes is the image's: in base64 it is a third longer."""
    largest, more = (base64.b64encode(PHOTO + b"\0" * (size - len(PHOTO))).decode() for size in (300_000, 300_001))
    assert client.post("/v1/segment", json={"image": largest}).status_code == 200
    assert client.post("/v1/segment", json={"image": more}).status_code == 413
    assert client.post("/v1/segment", json={"image": more * 2}).status_code == 413


@pytest.mark.parametrize("how", [{"params": {"format": "coco"}}, {"headers": {"Accept": COCO}}])
def test_coco_masks_are_the_labels_for_pycocotools(client: httpx.Client, how: dict) -> None:
    answer = client.post("/v1/segment", files={"image": PHOTO}, **how)
    assert answer.headers["content-type"] == ("application/json" if "params" in how else COCO)
    document = CocoDocument.model_validate_json(answer.content, strict=True, extra="forbid")
    expected = labels()
    assert (document.images[0].height, document.images[0].width) == expected.shape
    painted = np.full(expected.shape, 255, np.uint8)
    for annotation in document.annotations:
        mask = coco_mask.decode(annotation.segmentation.model_dump()).astype(bool)
        assert mask.sum() == annotation.area
        assert coco_mask.toBbox(annotation.segmentation.model_dump()).tolist() == list(annotation.bbox)
        painted[mask] = annotation.category_id
    np.testing.assert_array_equal(painted, expected)
    assert [entry.name for entry in document.categories] == FakeSegmenter().table().names


def test_the_list_of_the_hugging_face_task(client: httpx.Client) -> None:
    answer = client.post("/v1/segment", json={"inputs": TEXT, "parameters": {"format": "hf", "classes": 12}})
    assert answer.headers["content-type"] == "application/json"
    accepted = client.post("/v1/segment?classes=12", content=PHOTO, headers={"Content-Type": "image/png", "Accept": HUGGING_FACE})
    assert accepted.headers["content-type"] == HUGGING_FACE
    assert accepted.content == answer.content
    expected, names = labels(12), FakeSegmenter().table(12).names
    segments = [HuggingFaceSegment.model_validate(entry, strict=True, extra="forbid") for entry in answer.json()]
    assert {entry.label for entry in segments} == {names[label] for label in np.unique(expected)}
    for entry in segments:
        picture = Image.open(BytesIO(base64.b64decode(entry.mask)))
        assert picture.mode == "L"
        np.testing.assert_array_equal(np.asarray(picture), np.where(expected == names.index(entry.label), 255, 0))
