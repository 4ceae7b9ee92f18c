"""What a client that speaks to Gradio directly cannot do: have files read, have addresses fetched, send without end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_segmenter import FakeSegmenter
from sample_photo import photo

from api.catalog import Catalog
from models.errors import StegoError
from ui.offline import check_paths, private_files, uploaded, within_bounds
from ui.page import build_demo

FILE = {"_type": "gradio.FileData"}


def call(url: str, image: Any, *others: Any) -> str:
    """The events that follow when the photo is ``image`` (and the controls are ``others``), as text."""
    config = httpx.get(f"{url}/config").json()
    photo_id = next(entry["id"] for entry in config["components"] if entry["props"].get("elem_id") == "photo")
    function = next(entry for entry in config["dependencies"] if [photo_id, "change"] in entry["targets"])
    session = uuid.uuid4().hex
    body = {"data": [image, *(others or ("default", 9, 1.0, 0.5, 0.0))], "fn_index": function["id"], "session_hash": session, "trigger_id": photo_id}
    joined = httpx.post(f"{url}/gradio_api/queue/join", json=body)
    if joined.status_code != 200:
        return joined.text
    events = []
    with httpx.stream("GET", f"{url}/gradio_api/queue/data", params={"session_hash": session}, timeout=20) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                events.append(line)
                if json.loads(line[5:])["msg"] in {"process_completed", "unexpected_error", "close_stream"}:
                    break
    return "\n".join(events)


def test_an_upload_works_this_way(page_url: str) -> None:
    path = httpx.post(f"{page_url}/gradio_api/upload", files={"files": ("a.png", photo(), "image/png")}).json()[0]
    assert "3 of 9 classes" in call(page_url, {"path": path, "meta": FILE})


@pytest.mark.parametrize("meta", [{"meta": FILE}, {}])
def test_files_of_the_machine_are_not_read(page_url: str, tmp_path: Path, meta: dict[str, Any]) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(photo())
    for path in (str(secret), "/etc/passwd", "../../../../etc/passwd"):
        events = call(page_url, {"path": path, **meta})
        assert "classes" not in events
        assert "Traceback" not in events
    assert httpx.get(f"{page_url}/gradio_api/file={secret}").status_code in {403, 404}


def test_no_other_component_is_a_way_round(page_url: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(photo())
    path = httpx.post(f"{page_url}/gradio_api/upload", files={"files": ("a.png", photo(), "image/png")}).json()[0]
    for position in range(1, 6):
        data: list[Any] = [{"path": path, "meta": FILE}, "default", 9, 1.0, 0.5, 0.0]
        data[position] = {"path": str(secret), "meta": FILE}
        assert '"success":false' in call(page_url, *data)


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_addresses_are_not_fetched(page_url: str, scheme: str) -> None:
    events = call(page_url, {"path": f"{scheme}://127.0.0.1:9/photo.png", "url": f"{scheme}://127.0.0.1:9/photo.png", "meta": FILE})
    assert "classes" not in events
    assert "Traceback" not in events


def test_paths_are_found_wherever_they_are(tmp_path: Path) -> None:
    good = {"path": str(tmp_path / "a.png")}
    (tmp_path / "a.png").write_bytes(b"x")
    check_paths([None, 3, "text", good, {"nested": [{"image": good}]}, {"path": None}], tmp_path)
    for wrong in ({"path": "/etc/passwd"}, {"path": "https://example.com/a.png"}, {"path": 3}, {"path": ["/etc/passwd"]}):
        for inputs in ([wrong], [[{"image": wrong}]], {"value": wrong}):
            with pytest.raises(StegoError, match="not here"):
                check_paths(inputs, tmp_path)
    deep: Any = good
    for _ in range(50):
        deep = [deep]
    with pytest.raises(StegoError, match="deeply"):
        check_paths(deep, tmp_path)


def test_what_somebody_types_into_a_sliders_box_is_brought_within_its_bounds() -> None:
    demo = build_demo(Catalog({"default": FakeSegmenter()}))
    sliders = [block for block in demo.blocks.values() if block.elem_id in ("classes", "crf", "alpha", "fade")]
    again = next(entry for entry in demo.fns.values() if entry.name == "again" and list(entry.inputs) == sliders)
    for given, taken in (([None, 99, -1, 0.5], [1, 2, 0, 0.5]), ([999, None, float("nan"), 2], [27, 0, 0, 1]), ([9, 1, 0.6, 0], [9, 1, 0.6, 0])):
        assert asyncio.run(demo.preprocess_data(again, given, None)) == taken
    assert within_bounds(sliders[0], "many") == "many"
    assert within_bounds(demo, 99) == 99


def test_only_files_in_the_folder_count_as_uploaded(tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"x")
    (tmp_path / "b.png").write_bytes(b"x")
    (folder / "link.png").symlink_to(tmp_path / "b.png")
    assert uploaded({"path": str(folder / "a.png")}, folder) == folder / "a.png"
    for wrong in (folder / "absent.png", tmp_path / "b.png", folder / "link.png", folder / ".." / "b.png", folder):
        with pytest.raises(StegoError, match="not here"):
            uploaded({"path": str(wrong)}, folder)
    with pytest.raises(StegoError, match="not here"):
        uploaded({}, folder)


def test_bodies_to_the_page_are_limited_too(page_url: str) -> None:
    def endless() -> Any:
        yield from (b"x" * 100_000 for _ in range(40))

    headers = {"Content-Type": "application/json"}
    assert httpx.post(f"{page_url}/gradio_api/queue/join", content=endless(), headers=headers).status_code == 413
    assert httpx.post(f"{page_url}/gradio_api/queue/join", content=b"x" * 4_000_000, headers=headers).status_code == 413
    large = httpx.post(f"{page_url}/gradio_api/upload", files={"files": ("a.png", b"x" * 2_040_000, "image/png")})
    assert large.status_code == 413
    assert httpx.get(f"{page_url}/health").status_code == 200


def test_photos_of_one_visit_are_limited_each_not_together(page_url: str) -> None:
    photos = [("files", (f"{number}.png", b"x" * 900_000, "image/png")) for number in range(6)]
    answer = httpx.post(f"{page_url}/gradio_api/upload", files=photos)
    assert (answer.status_code, len(answer.json())) == (200, 6)


def test_an_upload_that_is_broken_off_leaves_nothing(page_url: str, caplog: pytest.LogCaptureFixture) -> None:
    uploads = private_files()
    before = set(uploads.iterdir())
    host, port = page_url.removeprefix("http://").split(":")
    head = b"POST /gradio_api/upload HTTP/1.1\r\nHost: %s\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 900000\r\n\r\n" % host.encode()
    begun = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + b"x" * 300_000
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head + begun)
        deadline = time.monotonic() + 20
        while set(uploads.iterdir()) == before:
            assert time.monotonic() < deadline, "nothing has arrived"
            time.sleep(0.01)
    while set(uploads.iterdir()) != before:
        assert time.monotonic() < deadline, "something is left"
        time.sleep(0.01)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks that end with their process")
def test_photos_that_a_killed_service_has_left_are_removed_by_the_next(tmp_path: Path) -> None:
    script = "import sys, ui.offline; print(ui.offline.private_files(), flush=True); sys.stdin.read()"

    def service() -> tuple[subprocess.Popen[str], Path]:
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    killed, left = service()
    living, kept = service()
    (left / "photo.png").write_bytes(photo())
    (tmp_path / "stego-page-notes").mkdir()  # somebody else's
    killed.kill()
    killed.communicate()
    third, fresh = service()
    assert {path.name for path in tmp_path.iterdir()} == {kept.name, fresh.name, "stego-page-notes"}
    for process in (living, third):
        process.communicate("")
    assert [path.name for path in tmp_path.iterdir()] == ["stego-page-notes"]


def test_the_page_and_the_service_share_the_root(page_url: str) -> None:
    assert "gradio" in httpx.get(f"{page_url}/").text
    assert httpx.get(f"{page_url}/health").json()["status"] == "ready"
    wrong = httpx.get(f"{page_url}/v1/segment")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert httpx.get(f"{page_url}/v1/nothing").json()["error"]["code"] == "not_found"
    page = httpx.get(f"{page_url}/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["x-frame-options"] == "DENY"
