"""Damaged images and JSON: never a failure of the service, never a hang, never more memory than the limits allow."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fake_segmenter import FakeSegmenter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live_server import running
from PIL import Image
from sample_photo import photo

from api import ServiceSettings, create_app

EXPECTED = {200, 400, 403, 404, 406, 413, 415, 422}
SECONDS = 20
GROWTH = 400_000_000
"""Bytes that the process may grow by: decoders keep some, but an image of the largest size allowed is 120 kB."""

KINDS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
TEXT = base64.b64encode(photo(12, 16)).decode()
INTERFACE = '<View><Image name="i" value="$image"/><BrushLabels name="b" toName="i"><Label value="class 0"/></BrushLabels></View>'
BODIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/segment", {"image": TEXT, "classes": 5, "crf": False, "flip": True, "alpha": 0.3, "abstain": 0.4, "format": "coco", "model": "default"}),
    ("/v1/segment", {"inputs": TEXT, "parameters": {"format": "hf", "classes": 3}}),
    ("/v1/segment", {"url": "http://10.0.0.1/a.png", "fade": 0.5}),
    ("/predict", {"tasks": [{"id": 1, "data": {"image": f"data:image/png;base64,{TEXT}"}}], "label_config": INTERFACE, "project": "1.2", "params": {
        "context": {"result": [{"value": {"x": 50, "y": 50, "keypointlabels": ["class 0"]}, "is_positive": True}]}}}),
    ("/setup", {"project": "1.2", "schema": INTERFACE, "hostname": "", "access_token": ""}),
    ("/webhook", {"action": "ANNOTATION_CREATED", "project": {"id": 1}}),
    ("/v1/predict", {"model": "default", "image": TEXT, "params": {"conf_threshold": 0.1, "epsilon_factor": 0.01, "marks": []}}),
)  # fmt: skip


def files() -> list[bytes]:
    """Small images of every kind, some with what cameras and editors add."""
    found = [photo(20, 30, kind) for kind in KINDS]
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 4), np.uint8)
    for mode, kind in (("RGBA", "PNG"), ("LA", "PNG"), ("1", "PNG"), ("CMYK", "JPEG"), ("RGBA", "WEBP"), ("P", "GIF")):
        stream = BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(noise, "RGBA").convert(mode).save(stream, kind, **({"exif": exif} if kind != "GIF" else {}))
        found.append(stream.getvalue())
    stream = BytesIO()
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(stream, "PNG")
    return [*found, stream.getvalue()]


FILES = files()


@pytest.fixture(scope="module")
def service() -> Iterator[httpx.Client]:
    app = create_app(ServiceSettings(ui=False, max_bytes=100_000, max_pixels=40_000), {"default": FakeSegmenter()})
    with running(app) as url, httpx.Client(base_url=url, timeout=SECONDS) as client:
        yield client


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """An image with bytes changed, cut, doubled, left out or taken from another file."""
    data = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(1, 6))):
        if not data:
            break
        # Headers decide most, so they are hit as often as all the rest.
        reach = draw(st.sampled_from([min(64, len(data)), len(data)]))
        at = draw(st.integers(0, reach - 1))
        length = draw(st.integers(1, 40))
        change = draw(st.sampled_from(["set", "flip", "cut", "drop", "double", "zero", "ones", "splice", "number"]))
        if change == "set":
            data[at] = draw(st.integers(0, 255))
        elif change == "flip":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "cut":
            del data[at:]
        elif change == "drop":
            del data[at : at + length]
        elif change == "double":
            data[at:at] = data[at : at + length]
        elif change in ("zero", "ones"):
            data[at : at + length] = bytes([0 if change == "zero" else 255]) * len(data[at : at + length])
        elif change == "splice":
            other = draw(st.sampled_from(FILES))
            data[at:] = other[min(at, len(other)) :]
        else:
            data[at : at + 4] = draw(st.sampled_from([b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x00\x00\xff\xff", b"\xff\xff\x00\x00", b"\x80\x00\x00\x00"]))
    return bytes(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=20) | st.sampled_from([TEXT, INTERFACE, "", "\ud800", "\x00"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def changed_bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A request that was good, with members replaced, removed or added, or its bytes damaged."""
    path, good = draw(st.sampled_from(BODIES))
    body: Any = json.loads(json.dumps(good))
    for _ in range(draw(st.integers(0, 3))):
        holder = body
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            key = draw(st.sampled_from(keys)) if keys else None
            if key is not None and isinstance(holder[key], (dict, list)) and draw(st.booleans()):
                holder = holder[key]
                continue
            break
        change = draw(st.sampled_from(["replace", "remove", "add"]))
        if change == "add" and isinstance(holder, dict):
            holder[draw(st.text(max_size=10))] = draw(JSON)
        elif key is not None and change == "remove":
            del holder[key]
        elif key is not None:
            holder[key] = draw(JSON)
    data = bytearray(json.dumps(body).encode("utf-8"))
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 5))] = draw(st.binary(max_size=5))
    return path, bytes(data)


def check(send: Callable[[], httpx.Response]) -> None:
    begun = time.monotonic()
    answer = send()
    assert time.monotonic() - begun < SECONDS
    assert answer.status_code in EXPECTED, answer.text
    if answer.status_code != 200:
        assert answer.json().get("error"), answer.text
        assert "Traceback" not in answer.text


def resident() -> int:
    """Bytes of memory that this process, with the service in it, holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 if Path("/proc/self/statm").exists() else 0


def fuzz_images(service: httpx.Client, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    @given(damaged_files(), st.sampled_from(["raw", "form", "json"]), st.sampled_from(["json", "index", "overlay", "coco", "hf"]))
    def run(data: bytes, way: str, form: str) -> None:
        if way == "raw":
            check(lambda: service.post(f"/v1/segment?format={form}", content=data, headers={"Content-Type": "image/png"}))
        elif way == "form":
            check(lambda: service.post("/v1/segment", files={"image": data}, data={"format": form}))
        else:
            check(lambda: service.post("/v1/segment", json={"image": base64.b64encode(data).decode(), "format": form}))

    before = resident()
    run()
    assert resident() - before < GROWTH
    assert service.get("/health").json()["pending"] == 0


def fuzz_json(service: httpx.Client, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    @given(changed_bodies())
    def run(request: tuple[str, bytes]) -> None:
        check(lambda: service.post(request[0], content=request[1], headers={"Content-Type": "application/json"}))

    before = resident()
    run()
    assert resident() - before < GROWTH
    assert service.get("/health").json()["pending"] == 0


def test_the_files_are_good_before_they_are_damaged(service: httpx.Client) -> None:
    for data in FILES:
        assert service.post("/v1/segment", content=data, headers={"Content-Type": "image/x"}).status_code == 200
    statuses = [service.post(path, json=body).status_code for path, body in BODIES]
    assert statuses == [200, 200, 403, 200, 200, 200, 200]


def test_damaged_images(service: httpx.Client) -> None:
    fuzz_images(service, 150)


def test_changed_json(service: httpx.Client) -> None:
    fuzz_json(service, 150)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_thousand_damaged_images(service: httpx.Client) -> None:
    fuzz_images(service, 2000)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_thousand_changed_bodies(service: httpx.Client) -> None:
    fuzz_json(service, 2000)
