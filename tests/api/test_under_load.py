"""Many clients at once: the queue is bounded, health always answers, and clients that leave cost nothing."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fake_segmenter import FakeSegmenter
from live_server import running
from sample_photo import photo

from api import ServiceSettings, create_app
from api.upload import check_header

PHOTO = photo()
PNG = {"Content-Type": "image/png"}


class Gate:
    """Holds every image until it is opened, and counts them."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = 0

    def __call__(self) -> None:
        self.entered += 1
        assert self.opened.wait(20)


def post(url: str) -> httpx.Response:
    return httpx.post(f"{url}/v1/segment", content=PHOTO, headers=PNG, timeout=30)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def pending(url: str) -> int:
    return int(httpx.get(f"{url}/health").json()["pending"])


def test_a_full_queue_says_when_to_come_back_and_health_answers() -> None:
    gate = Gate()
    settings = ServiceSettings(ui=False, concurrency=1, queue=2)
    with running(create_app(settings, {"default": FakeSegmenter(on_encode=gate)})) as url, ThreadPoolExecutor(3) as clients:
        waiting = [clients.submit(post, url) for _ in range(3)]
        wait_until(lambda: pending(url) == 3)
        begun = time.monotonic()
        refused = post(url)
        assert time.monotonic() - begun < 2
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "busy"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert httpx.get(f"{url}/v2/health/live").status_code == 200
        assert gate.entered == 1
        gate.opened.set()
        assert [future.result().status_code for future in waiting] == [200, 200, 200]
        assert post(url).status_code == 200


def test_waiting_too_long_is_503_and_working_too_long_is_504() -> None:
    gate = Gate()
    settings = ServiceSettings(ui=False, concurrency=1, queue=2, timeout=0.5)
    with running(create_app(settings, {"default": FakeSegmenter(on_encode=gate)})) as url, ThreadPoolExecutor(2) as clients:
        first = clients.submit(post, url)
        wait_until(lambda: gate.entered == 1)
        second = clients.submit(post, url)
        assert (first.result().status_code, first.result().json()["error"]["code"]) == (504, "timeout")
        assert (second.result().status_code, second.result().json()["error"]["code"]) == (503, "busy")
        assert pending(url) == 1  # the work that began cannot be stopped and keeps its place
        gate.opened.set()
        wait_until(lambda: pending(url) == 0)
        assert post(url).status_code == 200
        assert gate.entered == 2  # what waited too long was never begun


def test_clients_that_leave_give_up_their_place() -> None:
    gate = Gate()
    settings = ServiceSettings(ui=False, concurrency=1, queue=5)
    with running(create_app(settings, {"default": FakeSegmenter(on_encode=gate)})) as url, ThreadPoolExecutor(1) as clients:
        first = clients.submit(post, url)
        wait_until(lambda: gate.entered == 1)
        host, port = url.removeprefix("http://").split(":")
        head = f"POST /v1/segment HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(PHOTO)}\r\n\r\n".encode()
        leavers = [socket.create_connection((host, int(port))) for _ in range(4)]
        for connection in leavers:
            connection.sendall(head + PHOTO)
        wait_until(lambda: pending(url) == 5)
        for connection in leavers:
            connection.close()
        wait_until(lambda: pending(url) == 1)
        gate.opened.set()
        assert first.result().status_code == 200
        assert gate.entered == 1


def test_health_answers_while_a_header_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()

    def slowly(image: bytes, max_pixels: int, field: str = "image") -> int:
        gate()
        return check_header(image, max_pixels, field)

    monkeypatch.setattr("api.inference.check_header", slowly)
    with running(create_app(ServiceSettings(ui=False), {"default": FakeSegmenter()})) as url, ThreadPoolExecutor(1) as clients:
        answer = clients.submit(post, url)
        wait_until(lambda: gate.entered == 1)
        try:
            assert httpx.get(f"{url}/v2/health/live", timeout=10).status_code == 200
        finally:
            gate.opened.set()
        assert answer.result().status_code == 200


FORM = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'


def test_a_client_that_leaves_in_the_middle_of_its_upload_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    beginnings = {"image/png": b"abc", "multipart/form-data; boundary=x": FORM + b"abc", "application/json": b'{"image": "'}
    with running(create_app(ServiceSettings(ui=False), {"default": FakeSegmenter()})) as url:
        host, port = url.removeprefix("http://").split(":")
        for kind, begun in beginnings.items():
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(b"POST /v1/segment HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 1000\r\n\r\n" % kind.encode() + begun)
        assert post(url).status_code == 200
        wait_until(lambda: 'route="/v1/segment",status="499"} 3.0' in httpx.get(f"{url}/metrics").text)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_forty_requests_at_once_get_what_one_gets() -> None:
    settings = ServiceSettings(ui=False, concurrency=2, queue=40)
    with running(create_app(settings, {"default": FakeSegmenter()})) as url, ThreadPoolExecutor(16) as clients:
        alone = post(url).json()["classes"]
        answers = list(clients.map(lambda _: post(url), range(40)))
        assert {answer.status_code for answer in answers} == {200}
        assert all(answer.json()["classes"] == alone for answer in answers)
        assert len({answer.headers["x-request-id"] for answer in answers}) == 40
        assert pending(url) == 0
