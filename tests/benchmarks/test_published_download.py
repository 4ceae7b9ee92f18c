"""Downloads against a server on this machine: whole, cut off and gone on with, changed, damaged, refused."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.published import download as module
from benchmarks.published.download import fetch
from benchmarks.published.recipes import Download, Unpack
from models.errors import StegoError

DATA = bytes(range(256)) * 400
RULES = (Unpack(match="*", into="x"),)


class Server(ThreadingHTTPServer):
    """Serves `DATA` at any address but /absent; what it is told to break, it breaks."""

    daemon_threads = True
    data = DATA
    etag = '"one"'
    cut_after: int | None = None  # bytes of each answer that are sent before the connection is closed
    ranges = True
    status: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if self.path == "/absent" or server.status:
            self.send_error(server.status or 404)
            return
        start = 0
        if wanted and server.ranges and self.headers.get("If-Range") in (None, server.etag):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(server.data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        body = server.data[start:]
        self.send_response(206 if start else 200)
        self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        sent = body if server.cut_after is None else body[: server.cut_after]
        server.sent += len(sent)
        self.wfile.write(sent)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def file_at(url: str, **more: object) -> Download:
    return Download.model_validate({"url": url, "file": "data.zip", "unpack": RULES, **more})


def whole(server: Server, path: str = "/data.zip") -> Download:
    return file_at(server.url + path, size=len(DATA), md5=hashlib.md5(DATA, usedforsecurity=False).hexdigest())


def message(error: pytest.ExceptionInfo[StegoError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_arrives_whole_and_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    shown: list[tuple[str, int, int]] = []
    path = fetch(whole(server), tmp_path / "downloads", lambda *step: shown.append(step))
    assert path.read_bytes() == DATA
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["data.zip"]
    assert shown
    fetch(whole(server), path.parent)
    assert len(server.asked) == 1


def test_a_broken_connection_is_gone_on_with_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.cut_after = 40_000
    assert fetch(whole(server), tmp_path).read_bytes() == DATA
    assert server.asked == [None, "bytes=40000-", "bytes=80000-"]
    assert server.sent == len(DATA)


def test_a_later_run_goes_on_where_the_first_gave_up(server: Server, tmp_path: Path) -> None:
    server.cut_after = 10_000
    with pytest.raises(StegoError) as error:
        fetch(whole(server), tmp_path)
    assert "interrupted after 0.0 MB (the connection was closed); run the same command again to go on from there" in message(error)
    assert not (tmp_path / "data.zip").exists()
    server.cut_after, server.asked = None, []
    assert fetch(whole(server), tmp_path).read_bytes() == DATA
    assert server.asked == ["bytes=30000-"]


@pytest.mark.parametrize("how", ["changed", "no ranges", "no validator", "another address"])
def test_two_versions_are_never_joined(server: Server, tmp_path: Path, how: str) -> None:
    server.data, server.cut_after = b"\0" * len(DATA), 10_000
    with pytest.raises(StegoError):
        fetch(whole(server, "/old" if how == "another address" else "/data.zip"), tmp_path, tries=1)
    server.data, server.cut_after = DATA, None
    if how == "changed":
        server.etag = '"two"'
    elif how == "no ranges":
        server.ranges = False
    elif how == "no validator":
        (tmp_path / "data.zip.part.json").unlink()
    assert fetch(whole(server), tmp_path).read_bytes() == DATA


def test_killed_after_the_last_byte(server: Server, tmp_path: Path) -> None:
    unknown = file_at(server.url + "/data.zip")
    for known in (whole(server), unknown):
        (tmp_path / "data.zip").unlink(missing_ok=True)
        (tmp_path / "data.zip.part").write_bytes(DATA)
        (tmp_path / "data.zip.part.json").write_text(f'["{unknown.url}", "\\"one\\""]')
        server.sent = 0
        assert fetch(known, tmp_path).read_bytes() == DATA
        assert server.sent == 0


def test_wrong_checksum_and_wrong_size(server: Server, tmp_path: Path) -> None:
    with pytest.raises(StegoError) as error:
        fetch(file_at(server.url + "/data.zip", size=len(DATA), md5="0" * 32), tmp_path)
    assert f"expected {'0' * 32}; the download was deleted, run the same command again" in message(error)
    assert not list(tmp_path.glob("data.zip*part"))
    with pytest.raises(StegoError) as error:
        fetch(file_at(server.url + "/data.zip", size=7), tmp_path)
    assert message(error) == f"{server.url}/data.zip: the server offers {len(DATA)} bytes; expected 7: the file has changed"
    (tmp_path / "data.zip").write_bytes(b"half")
    with pytest.raises(StegoError) as error:
        fetch(whole(server), tmp_path)
    assert message(error) == f"{tmp_path / 'data.zip'}: is 4 bytes; expected {len(DATA)}; delete it and run the same command again"
    assert (tmp_path / "data.zip").read_bytes() == b"half"


def test_not_found_is_said_at_once_and_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    with pytest.raises(StegoError) as error:
        fetch(whole(server, "/absent"), tmp_path)
    assert message(error) == f"{server.url}/absent: the server answers 404 Not Found; expected the file data.zip"
    assert len(server.asked) == 1
    server.status, server.asked = 503, []
    with pytest.raises(StegoError) as error:
        fetch(whole(server), tmp_path)
    assert "cannot be downloaded (the server answers 503 Service Unavailable); check the network, or put the file at" in message(error)
    assert len(server.asked) == module.TRIES


def test_no_network_and_no_such_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    unused = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    unused.server_close()
    url = f"http://127.0.0.1:{unused.server_address[1]}/data.zip"
    with pytest.raises(StegoError) as error:
        fetch(file_at(url, size=5), tmp_path, timeout=2)
    assert message(error).startswith(f"{url}: cannot be downloaded (")
    assert message(error).endswith(f"check the network, or put the file at {tmp_path / 'data.zip'} yourself")


def test_a_server_that_falls_silent(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/data.zip"
        with pytest.raises(StegoError, match="cannot be downloaded"):
            fetch(file_at(url), tmp_path, tries=1, timeout=0.2)


def test_disk_too_small_is_said_before_anything_is_asked(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _path: SimpleNamespace(free=1_000_000_000))
    with pytest.raises(StegoError) as error:
        fetch(file_at(server.url + "/data.zip", size=19_336_861_798), tmp_path)
    assert message(error) == f"{tmp_path}: the disk has 1.0 GB free; the download data.zip needs 19.3 GB more"
    assert server.asked == []


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StegoError, match="cannot be written"):
        fetch(whole(server), tmp_path / "file" / "downloads")
