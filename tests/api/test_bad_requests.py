"""Every bad request gets a status that fits, one line, and no traceback; the service stays up."""

from __future__ import annotations

import socket
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from live_server import running
from sample_photo import photo

from api import ServiceSettings, create_app
from api.errors import ApiError

PHOTO = photo()
PNG = {"Content-Type": "image/png"}


def bomb(width: int, height: int) -> bytes:
    """A tiny PNG whose header promises a huge image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def check(answer: httpx.Response, status: int, code: str, field: str | None = None) -> str:
    """The message of an error answer of the one form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "field", "request_id"}
    assert (error["code"], error["field"]) == (code, field), error
    assert error["request_id"] == answer.headers["x-request-id"]
    message: str = error["message"]
    assert message
    assert "\n" not in message
    assert "Traceback" not in answer.text
    return message


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "empty_image"),
        (b"this is a text renamed .jpg", 415, "not_an_image"),
        (b"\x89PNG\r\n\x1a\n", 415, "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 415, "not_an_image"),
        (PHOTO[: len(PHOTO) // 2], 422, "unreadable_image"),
        (bomb(300, 300), 413, "too_many_pixels"),
        (bomb(60_000, 60_000), 413, "too_many_pixels"),
    ],
    ids=["empty", "text", "header only", "svg", "postscript", "truncated", "too many pixels", "bomb"],
)
def test_bad_images_raw_and_multipart(client: httpx.Client, content: bytes, status: int, code: str) -> None:
    check(client.post("/v1/segment", content=content, headers=PNG), status, code, "image")
    check(client.post("/v1/segment", files={"image": ("photo.jpg", content, "image/jpeg")}), status, code, "image")
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("options", "field", "code"),
    [
        ({"classes": "0"}, "classes", "invalid_option"),
        ({"classes": "28"}, "classes", "invalid_option"),
        ({"classes": "99999999999999999999999"}, "classes", "invalid_option"),
        ({"classes": "-3"}, "classes", "invalid_option"),
        ({"classes": "many"}, "classes", "invalid_option"),
        ({"classes": "3.5"}, "classes", "invalid_option"),
        ({"crf": "perhaps"}, "crf", "invalid_option"),
        ({"model": ""}, "model", "invalid_option"),
        ({"alpha": "2"}, "alpha", "invalid_option"),
        ({"alpha": "nan"}, "alpha", "invalid_option"),
        ({"format": "jpeg"}, "format", "invalid_option"),
        ({"clases": "3"}, "clases", "unknown_option"),
        ({"model": "nope"}, "model", "unknown_model"),
        ({"model": "../../etc/passwd"}, "model", "unknown_model"),
    ],
)
def test_bad_options_in_query_and_form(client: httpx.Client, options: dict[str, str], field: str, code: str) -> None:
    status = 404 if code == "unknown_model" else 422
    message = check(client.post("/v1/segment", content=PHOTO, headers=PNG, params=options), status, code, field)
    assert field in message
    check(client.post("/v1/segment", files={"image": PHOTO}, data=options), status, code, field)


def test_a_pixel_limit_above_pillows_own_is_honoured() -> None:
    from api.upload import check_header

    large = bomb(20_000, 10_000)
    check_header(large, 200_000_000)
    with pytest.raises(ApiError, match="declares 20000 × 10000 pixels, more than 199,999,999") as caught:
        check_header(large, 199_999_999)
    assert (caught.value.status_code, caught.value.code) == (413, "too_many_pixels")


def test_an_option_given_twice(client: httpx.Client) -> None:
    check(client.post("/v1/segment?classes=3", files={"image": PHOTO}, data={"classes": "4"}), 422, "invalid_option", "classes")


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/jsonl", "application/x-www-form-urlencoded"])
def test_other_content_types(client: httpx.Client, content_type: str | None) -> None:
    request = client.build_request("POST", "/v1/segment", content=PHOTO, headers={"Content-Type": content_type} if content_type else {})
    message = check(client.send(request), 415, "unsupported_media_type")
    assert "multipart/form-data" in message


def test_a_compressed_body(client: httpx.Client) -> None:
    check(client.post("/v1/segment", content=zlib.compress(PHOTO), headers={**PNG, "Content-Encoding": "deflate"}), 415, "unsupported_encoding")


def test_multipart_that_is_not_what_was_asked(client: httpx.Client) -> None:
    check(client.post("/v1/segment", files={"file": PHOTO}), 422, "unknown_field", "file")
    check(client.post("/v1/segment", files=[("image", PHOTO), ("image", PHOTO)]), 400, "bad_multipart")
    check(client.post("/v1/segment", files={"classes": (None, "3")}), 400, "missing_image", "image")
    check(client.post("/v1/segment", files={"image": (None, "photo.jpg")}), 422, "not_a_file", "image")
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    check(client.post("/v1/segment", content=b"--y\r\nnonsense", headers=broken), 400, "bad_multipart")
    check(client.post("/v1/segment", content=b"", headers=broken), 400, "missing_image", "image")
    check(client.post("/v1/segment", content=PHOTO, headers={"Content-Type": "multipart/form-data"}), 400, "bad_multipart")
    for charset in ("punycode", "undefined"):
        form = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + PHOTO + b"\r\n--x--\r\n"
        check(client.post("/v1/segment", content=form, headers={"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}), 400, "bad_multipart")
    many = {f"f{number}": (None, "1") for number in range(40)}
    check(client.post("/v1/segment", files=many), 400, "bad_multipart")


@pytest.mark.parametrize("accept", ["text/html", "image/jpeg", "application/json;q=0, image/*;q=0"])
def test_nothing_acceptable(client: httpx.Client, accept: str) -> None:
    check(client.post("/v1/segment", content=PHOTO, headers={**PNG, "Accept": accept}), 406, "not_acceptable")


def test_too_large_by_declared_length(client: httpx.Client) -> None:
    check(client.post("/v1/segment", content=b"x" * 500_000, headers=PNG), 413, "too_large", "image")
    check(client.post("/v1/segment", files={"image": b"x" * 500_000}), 413, "too_large", "image")
    check(client.post("/v1/segment", files={"image": b"x" * 320_000}), 413, "too_large", "image")


def pieces(count: int) -> Iterator[bytes]:
    yield from (b"x" * 10_000 for _ in range(count))


def test_too_large_without_a_declared_length(client: httpx.Client) -> None:
    check(client.post("/v1/segment", content=pieces(60), headers=PNG), 413, "too_large", "image")
    start = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    body = (part for part in (start, *pieces(60), b"\r\n--b--\r\n"))
    check(client.post("/v1/segment", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"}), 413, "too_large", "image")
    field = (part for part in (b'--b\r\nContent-Disposition: form-data; name="classes"\r\n\r\n', *pieces(20)))
    check(client.post("/v1/segment", content=field, headers={"Content-Type": "multipart/form-data; boundary=b"}), 400, "bad_multipart")
    assert client.get("/health").status_code == 200


def test_a_length_that_lies_low_is_held_to(url: str) -> None:
    """The server reads no further than the declared length, so the rest cannot fill memory."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"POST /v1/segment HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 10\r\nConnection: close\r\n\r\n" + b"x" * 5000)
        assert connection.recv(20).startswith(b"HTTP/1.1 415")


def test_an_endless_upload_is_ended(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"POST /v1/segment HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n")
        taken = 0
        with suppress(ConnectionError):
            while taken < 30_000_000:
                connection.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
                taken += 0x4000
        assert taken < 20_000_000  # the limit, twice as much to be polite, and what the system buffers: up to several megabytes on each side


def test_bodies_that_together_are_more_than_may_wait_are_turned_away() -> None:
    """Images are read before they come to the queue: without an end to it, many clients that send slowly would fill the memory."""
    from fake_segmenter import FakeSegmenter

    with running(create_app(ServiceSettings(ui=False, concurrency=1, queue=0, max_bytes=3_000_000), {"default": FakeSegmenter()})) as url:
        host, port = url.removeprefix("http://").split(":")
        head = b"POST /v1/segment HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 2900000\r\n\r\n"
        with socket.create_connection((host, int(port)), timeout=10) as slow:
            slow.sendall(head + b"x" * 2_800_000)
            time.sleep(0.5)
            check(httpx.post(f"{url}/v1/segment", content=b"x" * 2_000_000, headers=PNG), 503, "busy")
            assert httpx.post(f"{url}/v1/segment", content=PHOTO, headers=PNG).status_code == 200
        deadline = time.monotonic() + 20
        while (answer := httpx.post(f"{url}/v1/segment", content=b"x" * 2_000_000, headers=PNG)).status_code == 503:
            assert time.monotonic() < deadline, "what the client that has left had sent is still counted"
        check(answer, 415, "not_an_image", "image")


def test_a_body_that_never_comes() -> None:
    from fake_segmenter import FakeSegmenter

    with running(create_app(ServiceSettings(ui=False, upload_timeout=0.3), {"default": FakeSegmenter()})) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"POST /v1/segment HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\nabc")
            assert connection.recv(20).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/segment", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("PUT", "/v1/models/default", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("POST", "/openapi.json", 405, "method_not_allowed"),
        ("GET", "/v1/segments", 404, "not_found"),
        ("GET", "/v1", 404, "not_found"),
        ("GET", "/v2/health", 404, "not_found"),
        ("GET", "/elsewhere", 404, "not_found"),
        ("GET", "/v1/models/%2e%2e%2fetc%2fpasswd", 404, "not_found"),
    ],
)
def test_wrong_method_or_path(client: httpx.Client, method: str, path: str, status: int, code: str) -> None:
    answer = client.request(method, path)
    check(answer, status, code)
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("path", ["/health", "/v2/health/live", "/v2/models/default", "/v1/models", "/v1/models/default", "/metrics", "/openapi.json"])
def test_head_answers_as_get_does_without_the_body(client: httpx.Client, path: str) -> None:
    head, got = client.head(path), client.get(path)
    assert (head.status_code, head.headers["content-type"], head.content) == (200, got.headers["content-type"], b"")
    assert client.head("/v1/models/nope").status_code == 404
    assert client.head("/v1/segment").status_code == 405
    assert "GET, HEAD" in client.put(path).headers["allow"]


def test_an_unknown_model_is_told(client: httpx.Client) -> None:
    assert "default, fine" in check(client.get("/v1/models/nope"), 404, "unknown_model", "model")


def test_a_failure_of_ours_hides_its_reason_but_names_its_id(caplog: pytest.LogCaptureFixture) -> None:
    from fake_segmenter import FakeSegmenter

    def fail() -> None:
        raise RuntimeError("secret inside")

    with running(create_app(ServiceSettings(ui=False), {"default": FakeSegmenter(on_encode=fail)})) as url:
        answer = httpx.post(f"{url}/v1/segment", content=PHOTO, headers=PNG)
        message = check(answer, 500, "internal_error")
        assert "secret" not in answer.text
        assert answer.headers["x-request-id"] in message
        assert "secret inside" in caplog.text
        assert httpx.get(f"{url}/health").status_code == 200
