"""X-AnyLabeling as a client: its requests as it sends them, at the dialect's address and at the service's own."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO

import cv2
import httpx
import numpy as np
import pytest
from fake_segmenter import FakeSegmenter
from live_server import running
from PIL import Image
from sample_photo import photo

from api import ServiceSettings, create_app

PHOTO = photo(120, 160)
DATA = f"data:image/png;base64,{base64.b64encode(PHOTO).decode()}"
TOKEN = {"Token": ""}
"""The client sends this header always, also where no key is set."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(create_app(ServiceSettings(ui=False), {"default": FakeSegmenter(), "fine": FakeSegmenter(default_classes=20)})) as base:
        yield base


@pytest.fixture(params=["", "/xanylabeling"])
def tool(request: pytest.FixtureRequest, url: str) -> Iterator[httpx.Client]:
    """The client with each of the two addresses that a person may give it."""
    with httpx.Client(base_url=url + request.param, headers=TOKEN, timeout=30) as client:
        yield client


def labels(classes: int | None = None) -> np.ndarray:
    return FakeSegmenter()(np.asarray(Image.open(BytesIO(PHOTO)).convert("RGB")), classes=classes).labels


def test_models_and_their_controls(tool: httpx.Client) -> None:
    listed = tool.get("/v1/models").json()
    assert list(listed["data"]) == ["default", "fine"]
    model = listed["data"]["default"]
    assert model["display_name"] == "stego: default"
    widgets = {widget["name"]: widget["value"] for widget in model["widgets"]}
    assert {"button_run", "edit_conf", "mask_fineness_slider", "toggle_preserve_existing_annotations"} <= set(widgets)
    assert not model["capabilities"]  # a model with any is hidden from the general list
    assert tool.get("/v1/models/fine/info").json()["data"]["model_id"] == "fine"


def test_everybody_else_gets_the_list_of_models_as_before(url: str) -> None:
    assert [model["name"] for model in httpx.get(f"{url}/v1/models").json()["models"]] == ["default", "fine"]
    assert httpx.get(f"{url}/xanylabeling/health").json()["models_loaded"] == 2


def test_polygons_are_the_classes(tool: httpx.Client) -> None:
    params = {"conf_threshold": 0.0, "iou_threshold": 0.0, "epsilon_factor": 0.001}
    answer = tool.post("/v1/predict", json={"model": "default", "image": DATA, "params": params})
    assert answer.status_code == 200, answer.text
    shapes = answer.json()["data"]["shapes"]
    expected, names = labels(), FakeSegmenter().table().names
    painted = np.full(expected.shape, 255, np.uint8)
    for shape in shapes:
        assert shape["shape_type"] == "polygon"
        assert len(shape["points"]) >= 3
        assert 0 <= shape["score"] <= 1
        cv2.fillPoly(painted, [np.array(shape["points"]).astype(np.int32)], names.index(shape["label"]))
    assert (painted == expected).mean() > 0.99
    areas = [cv2.contourArea(np.array(shape["points"], np.float32)) for shape in shapes]
    assert areas == sorted(areas, reverse=True)


def test_the_clients_sliders(tool: httpx.Client) -> None:
    def shapes(**params: float) -> list[dict]:
        found: list[dict] = tool.post("/v1/predict", json={"model": "fine", "image": DATA, "params": params}).json()["data"]["shapes"]
        return found

    assert shapes(conf_threshold=0.95) == []
    assert shapes(conf_threshold=0.5)
    assert sum(len(shape["points"]) for shape in shapes(epsilon_factor=0.1)) <= sum(len(shape["points"]) for shape in shapes(epsilon_factor=0))


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "nope", "image": DATA}, 404, "UNKNOWN_MODEL"),
        ({"model": "default", "image": "AAAA"}, 415, "NOT_AN_IMAGE"),
        ({"model": "default", "image": "%"}, 422, "NOT_BASE64"),
        ({"model": "default"}, 422, "INVALID_REQUEST"),
        ({"model": 7, "image": DATA}, 422, "INVALID_REQUEST"),
        ({"model": "default", "image": DATA, "params": {"conf_threshold": 7}}, 422, "INVALID_REQUEST"),
    ],
)
def test_errors_have_the_clients_form_and_a_true_status(tool: httpx.Client, body: dict, status: int, code: str) -> None:
    answer = tool.post("/v1/predict", json=body)
    assert (answer.status_code, answer.json()["success"], answer.json()["error"]["code"]) == (status, False, code), answer.text
    assert answer.json()["error"]["message"]
    assert tool.get("/v1/models/nope/info").status_code == 404
