"""Label Studio as a client: its requests as it sends them, its brushes read back."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from fake_segmenter import FakeSegmenter
from hypothesis import given
from hypothesis import strategies as st
from live_server import running
from PIL import Image
from sample_photo import photo

from api import ServiceSettings, create_app
from api.dialects.label_config import Brush, LabelConfigError, parse_label_config
from stego_app.formats import read_brush_rle

PHOTO = photo()
DATA = f"data:image/png;base64,{base64.b64encode(PHOTO).decode()}"


def named() -> FakeSegmenter:
    """The segmenter with the photo's three classes named as a person would."""
    segmenter = FakeSegmenter()
    labels = expected(segmenter)
    for row, column, name in ((0, 0, "Sky"), (-1, 0, "grass"), (20, 30, "box")):
        leaves = next(entry.leaves for entry in segmenter.table().classes if entry.label == labels[row, column])
        segmenter = segmenter.rename(leaves, name)
    return segmenter


def expected(segmenter: FakeSegmenter) -> np.ndarray:
    return segmenter(np.asarray(Image.open(BytesIO(PHOTO)).convert("RGB"))).labels


def interface(*labels: str, tag: str = "BrushLabels") -> str:
    words = "".join(f'<Label value="{label}" background="#ff0000"/>' for label in labels)
    return f'<View><Header value="x"/><{tag} name="tag" toName="img">{words}</{tag}><Image name="img" value="$photo" zoom="true"/></View>'


def asked(*images: str, config: str | None = None, context: Any = None) -> dict[str, Any]:
    """A request as Label Studio's server sends it."""
    return {
        "tasks": [{"id": number, "data": {"photo": image}, "meta": {}, "annotations": [], "project": 1} for number, image in enumerate(images, 1)],
        "model_version": None,
        "project": "1.1700000000",
        "label_config": config or interface("sky", "grass"),
        "params": {"login": None, "password": None, "context": context},
    }


@pytest.fixture(scope="module")
def backend() -> Iterator[httpx.Client]:
    app = create_app(ServiceSettings(ui=False), {"default": named(), "plain": FakeSegmenter()})
    with running(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


def test_connecting(backend: httpx.Client) -> None:
    assert backend.get("/health").status_code == 200
    request = {"project": "1.1700000000", "schema": interface("sky"), "hostname": "http://10.0.0.1", "access_token": "abc", "extra_params": {"a": 1}}
    answer = backend.post("/setup", json=request)
    assert answer.status_code == 200
    assert answer.json()["model_version"].startswith("default@")
    assert backend.post("/label-studio/plain/setup", json=request).json()["model_version"].startswith("plain@")
    assert backend.get("/label-studio/plain/health").status_code == 200
    assert backend.get("/label-studio/nope/health").status_code == 404
    assert backend.post("/setup", json={"project": "1.2", "schema": "<View/>"}).json()["error"]["code"] == "bad_label_config"


def test_brushes_of_the_classes_that_are_labels(backend: httpx.Client) -> None:
    answer = backend.post("/predict", json=asked(DATA))
    assert answer.status_code == 200, answer.text
    [prediction] = answer.json()["results"]
    labels, names = expected(named()), named().table().names
    assert {region["value"]["brushlabels"][0] for region in prediction["result"]} == {"sky", "grass"}
    assert prediction["left_out"] == ["box"]
    assert prediction["model_version"].startswith("default@")
    assert prediction["score"] == pytest.approx(0.9)
    for region in prediction["result"]:
        assert (region["from_name"], region["to_name"], region["type"], region["value"]["format"]) == ("tag", "img", "brushlabels", "rle")
        assert (region["original_width"], region["original_height"], region["image_rotation"]) == (80, 60, 0)
        word = region["value"]["brushlabels"][0]
        label = next(number for number, name in enumerate(names) if name.casefold() == word)
        np.testing.assert_array_equal(read_brush_rle(region["value"]["rle"], 60, 80), np.where(labels == label, 255, 0))
    assert len({region["id"] for region in prediction["result"]}) == 2


def test_another_model_and_labels_left_open(backend: httpx.Client) -> None:
    [prediction] = backend.post("/label-studio/plain/predict", json=asked(DATA, config=interface())).json()["results"]
    found = {FakeSegmenter().table().names[label] for label in np.unique(expected(FakeSegmenter()))}
    assert {region["value"]["brushlabels"][0] for region in prediction["result"]} == found


def test_a_click_gives_the_piece_that_is_there(backend: httpx.Client) -> None:
    click = {
        "type": "keypointlabels", "from_name": "keypoint", "to_name": "img", "original_width": 80, "original_height": 60, "is_positive": True,
        "value": {"x": 37.5, "y": 40, "width": 0.5, "keypointlabels": ["Grass"]},
    }  # fmt: skip
    [prediction] = backend.post("/predict", json=asked(DATA, context={"result": [click]})).json()["results"]
    [region] = prediction["result"]
    assert region["value"]["brushlabels"] == ["grass"]
    labels = expected(named())
    np.testing.assert_array_equal(read_brush_rle(region["value"]["rle"], 60, 80), np.where(labels == labels[24, 30], 255, 0))
    [nothing] = backend.post("/predict", json=asked(DATA, context={"result": [{**click, "is_positive": 0}]})).json()["results"]
    assert nothing["result"] == []  # where a thing is not says of no thing where it is
    for wrong in ({}, {"value": {}}, {"value": {"x": 500, "y": 0, "keypointlabels": ["a"]}}, {"value": {"x": "nan", "y": 0, "keypointlabels": ["a"]}}, 7):
        answer = backend.post("/predict", json=asked(DATA, context={"result": [wrong]}))
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_context"), wrong


def test_a_task_that_fails_does_not_take_the_others_along(backend: httpx.Client) -> None:
    answer = backend.post("/predict", json=asked(DATA, "data:image/png;base64,AAAA", DATA))
    assert answer.status_code == 200
    first, second, third = answer.json()["results"]
    assert [len(entry["result"]) for entry in (first, second, third)] == [2, 0, 2]
    assert second["error"].startswith("task 2: photo: not an image")
    assert "score" not in second
    alone = backend.post("/predict", json=asked("data:image/png;base64,AAAA"))
    assert (alone.status_code, alone.json()["error"]["code"]) == (415, "not_an_image")
    assert backend.post("/predict", json=asked()).json() == {"results": []}
    many = backend.post("/predict", json=asked(*["data:,x"] * 300))  # all tasks that are chosen come in one request
    assert (many.status_code, many.json()["error"]["code"]) == (422, "not_base64")


def test_images_elsewhere_are_not_fetched_unless_allowed(backend: httpx.Client) -> None:
    for address in ("http://169.254.169.254/latest/", "/data/upload/1/a.png", "https://example.org/a.png"):
        answer = backend.post("/predict", json=asked(address))
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "url_not_allowed"), address
    assert backend.post("/predict", json=asked("s3://bucket/a.png")).status_code == 422


def test_images_of_the_operators_own_label_studio() -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(PHOTO)))
            self.end_headers()
            self.wfile.write(PHOTO)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        settings = ServiceSettings(ui=False, label_studio=f"http://127.0.0.1:{server.server_address[1]}")
        with running(create_app(settings, {"default": named()})) as url:
            [prediction] = httpx.post(f"{url}/predict", json=asked("/data/upload/1/photo.png"), timeout=30).json()["results"]
    finally:
        server.shutdown()
        server.server_close()
    assert len(prediction["result"]) == 2


def test_events_are_taken_note_of(backend: httpx.Client) -> None:
    event = {"action": "ANNOTATION_CREATED", "project": {"id": 1, "label_config": interface("sky")}, "annotation": {"id": 3}}
    assert backend.post("/webhook", json=event).json() == {"status": "ignored", "action": "ANNOTATION_CREATED"}


@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook"])
@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"{", b'{"tasks": 3, "schema": [], "action": {}, "label_config": 7}'])
def test_requests_that_are_none(backend: httpx.Client, path: str, body: bytes) -> None:
    assert backend.post(path, content=body, headers={"Content-Type": "application/json"}).status_code in (400, 422)


def test_what_is_read_of_an_interface() -> None:
    text = """<View><RectangleLabels name="r" toName="a"/><Image name="a" value="$pic"/>
    <BrushLabels name="b" toName="a"><Label value="Road" alias="R"/><View><Label value=" Sky "/></View><Label/></BrushLabels></View>"""
    brush = parse_label_config(text)
    assert (brush.from_name, brush.to_name, brush.key) == ("b", "a", "pic")
    assert [brush.label_for(name) for name in ("road", "r", "SKY", "sea")] == ["R", "R", " Sky ", None]
    assert Brush("b", "a", "pic", {}).label_for("anything") == "anything"


@pytest.mark.parametrize(
    "text",
    [
        "", "text", "<View>", "<View/>", interface("a", tag="RectangleLabels"), '<View><BrushLabels name="a" toName="b"/></View>',
        '<View><BrushLabels name="a" toName="b"/><Image name="b" value="photo"/></View>', '<View><BrushLabels toName="b"/><Image name="b" value="$p"/></View>',
        '<!DOCTYPE v [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><View>&b;</View>', '<!DocType v SYSTEM "file:///etc/passwd"><View/>', "<a>" * 60_000,
        " " * 300_000, "\x00", "<View>\ud800</View>",
    ],
)  # fmt: skip
def test_interfaces_that_are_none(text: str) -> None:
    with pytest.raises(LabelConfigError, match=r"^label_config: ") as caught:
        parse_label_config(text)
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="<>/&;!\"'= BrushLabelsImage$nametoNamevalue", max_size=200))
def test_any_text_is_an_interface_or_not(text: str) -> None:
    try:
        parse_label_config(text)
    except LabelConfigError:
        return
