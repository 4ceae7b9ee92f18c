"""Damaged images, zips and JSON: never a failure of the service, never a hang, never more memory than the limits allow."""

from __future__ import annotations

import base64
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from damage import damaged
from fake_segmenter import FakeSegmenter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from job_parts import archive, photos, picture
from live_server import running
from PIL import Image
from sample_photo import photo

from api import ServiceSettings, create_app
from api.jobs.archive import Limits, unpack
from api.jobs.folder import DataFolder
from api.jobs.settings import JobSettings
from models.errors import StegoError
from stego_app.images import read_image

EXPECTED = {200, 202, 400, 403, 404, 406, 409, 413, 415, 422}
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
    ("/v1/models/default/edits", {"edits": [{"op": "rename", "id": 0, "name": "soil"}, {"op": "merge", "ids": [1, 2]}, {"op": "colour", "id": 3,
        "color": "#102030"}, {"op": "split", "id": 4}, {"op": "ignore", "id": 5}], "classes": 9, "save_as": "edited"}),
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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=20) | st.sampled_from([TEXT, INTERFACE, "", "\ud800", "\x00"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


def archives() -> list[bytes]:
    """Small zips of images: packed, stored, one inside another, with folders and other names."""
    files = photos(3)
    odd = {"Straße/ä.png": picture(4), "deep/er/b.png": picture(5), "c.txt": b"text", "d.jpg": FILES[1], "empty.png": b""}
    packings = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    return [*(archive(files, packing=packing) for packing in packings), archive(odd), archive({"inner.zip": archive(files), "a.png": picture(6)})]


ARCHIVES = archives()
ARCHIVE_LIMITS: dict[str, Any] = {"archive_bytes": 300_000, "archive_files": 50, "expanded_bytes": 2_000_000}


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "data")


@pytest.fixture
def jobs(data: DataFolder) -> Iterator[httpx.Client]:
    """A service that takes jobs and works on none."""
    settings = ServiceSettings(ui=False, crf_workers=0, jobs=JobSettings(data=data.path, workers=0, **ARCHIVE_LIMITS))
    with running(create_app(settings, {"default": FakeSegmenter()})) as url, httpx.Client(base_url=url, timeout=SECONDS) as client:
        yield client


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


def check(send: Callable[[], httpx.Response]) -> httpx.Response:
    begun = time.monotonic()
    answer = send()
    assert time.monotonic() - begun < SECONDS
    assert answer.status_code in EXPECTED, answer.text
    if answer.status_code not in (200, 202):
        assert answer.json().get("error"), answer.text
        assert "Traceback" not in answer.text
    return answer


def resident() -> int:
    """Bytes of memory that this process, with the service in it, holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 if Path("/proc/self/statm").exists() else 0


def fuzz_images(service: httpx.Client, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    @given(damaged(FILES), st.sampled_from(["raw", "form", "json"]), st.sampled_from(["json", "index", "overlay", "coco", "hf"]))
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


def fuzz_archives(jobs: httpx.Client, data: DataFolder, examples: int) -> None:
    """Each is refused in words, or taken; what is taken is unpacked and read as a worker does it, and the job is removed."""
    taken = 0

    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    @given(damaged(ARCHIVES, end=True), st.sampled_from(["/v1/jobs", "/v1/fit"]), st.booleans())
    def run(zipped: bytes, path: str, form: bool) -> None:
        nonlocal taken
        name = "?name=new" if path == "/v1/fit" else ""
        if form:
            answer = check(lambda: jobs.post(path + name, files={"images": ("a.zip", zipped)}))
        else:
            answer = check(lambda: jobs.post(path + name, content=zipped, headers={"Content-Type": "application/zip"}))
        if answer.status_code == 202:
            taken += 1
            unpack_and_read(data, answer.json()["id"])
            assert jobs.delete(answer.headers["location"]).status_code < 300

    before = resident()
    run()
    assert resident() - before < GROWTH
    assert taken > examples / 10  # or it has fuzzed nothing but the first look
    assert [*data.incoming.iterdir(), *data.jobs.iterdir()] == []
    assert jobs.get("/health").json()["pending"] == 0


def unpack_and_read(data: DataFolder, job: str) -> None:
    """What comes first in the work of a job; every reason is one line."""
    folder, begun = data.job(job), time.monotonic()
    limits = Limits(ARCHIVE_LIMITS["archive_files"], ARCHIVE_LIMITS["expanded_bytes"])
    problems: list[str] = []
    try:
        unpack(folder.upload, folder.input, folder.refused, limits, max_pixels=40_000, step=lambda *_: None)
    except StegoError as error:
        problems.append(str(error))
    for path in folder.input.rglob("*"):
        if path.is_file():
            try:
                read_image(path)
            except StegoError as error:
                problems.append(str(error))
    assert time.monotonic() - begun < SECONDS
    assert not [problem for problem in problems if "\n" in problem]
    assert {entry.name for entry in data.path.iterdir()} <= {"jobs", "incoming", "models"} | {
        f"{name}.sqlite{end}" for name in ("jobs", "queue") for end in ("", "-shm", "-wal")
    }


def test_the_files_are_good_before_they_are_damaged(service: httpx.Client) -> None:
    for data in FILES:
        assert service.post("/v1/segment", content=data, headers={"Content-Type": "image/x"}).status_code == 200
    statuses = [service.post(path, json=body).status_code for path, body in BODIES]
    assert statuses == [200, 200, 403, 200, 200, 200, 200, 409]


def test_damaged_images(service: httpx.Client) -> None:
    fuzz_images(service, 150)


def test_changed_json(service: httpx.Client) -> None:
    fuzz_json(service, 150)


def test_damaged_archives(jobs: httpx.Client, data: DataFolder) -> None:
    for zipped in ARCHIVES:
        answer = check(lambda sent=zipped: jobs.post("/v1/jobs", files={"images": ("a.zip", sent)}))  # type: ignore[misc]
        assert answer.status_code == 202, answer.text
        unpack_and_read(data, answer.json()["id"])
        assert jobs.delete(answer.headers["location"]).status_code < 300
    fuzz_archives(jobs, data, 60)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_thousand_damaged_images(service: httpx.Client) -> None:
    fuzz_images(service, 2000)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_thousand_changed_bodies(service: httpx.Client) -> None:
    fuzz_json(service, 2000)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_thousand_damaged_archives(jobs: httpx.Client, data: DataFolder) -> None:
    fuzz_archives(jobs, data, 2000)
