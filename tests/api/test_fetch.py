"""Fetching by address: the list, private addresses, redirects, limits. A server of our own plays the internet."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import ServiceSettings
from api.security.addresses import BadAddressError, HostList, is_public, parse_address
from api.security.fetch import LABEL_STUDIO_KEY, Fetcher, FetchError
from models.errors import StegoError

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def internet(answer: Answer) -> Iterator[int]:
    """A web server; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def send(handler: BaseHTTPRequestHandler, body: bytes = b"picture", status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def resolved(**names: str) -> Callable[..., list[Any]]:
    """A name service that knows these names, dots written as underscores."""
    table = {name.replace("_", "."): ip for name, ip in names.items()}

    def resolve(host: str, port: int, *, type: int) -> list[Any]:
        if host not in table:
            raise socket.gaierror(host)
        return [(socket.AF_INET, type, 0, "", (ip, port)) for ip in table[host].split()]

    return resolve


@pytest.fixture
def open_net(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count this machine's own address as public, so that the server of the test may be reached."""
    monkeypatch.setattr("api.security.fetch.is_public", lambda ip: ip == "127.0.0.1" or is_public(ip))


def fetcher(port: int, hosts: tuple[str, ...] = ("img.example",), names: dict[str, str] | None = None, **settings: Any) -> Fetcher:
    chosen = ServiceSettings(fetch_hosts=tuple(f"{host}:{port}" for host in hosts), **{"max_bytes": 1000, "fetch_timeout": 2, **settings})
    return Fetcher(chosen, resolved(**(names or {"img_example": "127.0.0.1"})))


def refused(fetch: Fetcher, address: str) -> tuple[int, str]:
    with pytest.raises(FetchError) as caught:
        fetch.fetch(address)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("url: ")
    return caught.value.status, caught.value.code


@pytest.mark.usefixtures("open_net")
def test_an_image_of_an_allowed_host() -> None:
    seen: list[dict[str, str]] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        seen.append(dict(handler.headers))
        send(handler)

    with internet(answer) as port:
        assert fetcher(port).fetch(f"http://img.example:{port}/a.png?b=c") == b"picture"
    assert seen[0]["Host"] == f"img.example:{port}"
    assert "Authorization" not in seen[0]
    assert "Cookie" not in seen[0]


def test_nothing_is_fetched_without_a_list() -> None:
    assert refused(Fetcher(ServiceSettings()), "http://example.org/a.png") == (403, "url_not_allowed")


@pytest.mark.parametrize("ip", ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1", "fd00::1", "::ffff:10.0.0.1"])
def test_an_allowed_name_that_leads_to_a_private_address(ip: str) -> None:
    """Nobody answers there: the refusal comes before any connection."""
    fetch = Fetcher(ServiceSettings(fetch_hosts=("img.example",)), resolved(img_example=ip))
    assert refused(fetch, "http://img.example/a.png") == (403, "url_not_allowed")
    both = Fetcher(ServiceSettings(fetch_hosts=("img.example",)), resolved(img_example=f"93.184.216.34 {ip}"))
    assert refused(both, "http://img.example/a.png") == (403, "url_not_allowed")


def test_a_private_address_on_the_list_is_refused_all_the_same() -> None:
    fetch = Fetcher(ServiceSettings(fetch_hosts=("127.0.0.1", "localhost")))
    assert refused(fetch, "http://127.0.0.1/a.png") == (403, "url_not_allowed")
    assert refused(fetch, "http://localhost/a.png") == (403, "url_not_allowed")


@pytest.mark.usefixtures("open_net")
def test_a_name_that_changes_its_mind_is_looked_up_once() -> None:
    calls = []

    def resolve(host: str, port: int, *, type: int) -> list[Any]:
        calls.append(host)
        return [(socket.AF_INET, type, 0, "", ("127.0.0.1" if len(calls) == 1 else "10.0.0.1", port))]

    with internet(send) as port:
        settings = ServiceSettings(fetch_hosts=(f"img.example:{port}",))
        assert Fetcher(settings, resolve).fetch(f"http://img.example:{port}/") == b"picture"
    assert calls == ["img.example"]


@pytest.mark.usefixtures("open_net")
@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("http://169.254.169.254/latest/meta-data/", (403, "url_not_allowed")),
        ("http://inner.example:{port}/", (403, "url_not_allowed")),
        ("http://other.example:{port}/", (403, "url_not_allowed")),
        ("file:///etc/passwd", (422, "invalid_url")),
        ("ftp://img.example/a", (422, "invalid_url")),
        ("", (502, "fetch_failed")),
        ("/again", (502, "fetch_failed")),
    ],
)
def test_redirects_are_checked_like_the_first_address(location: str, expected: tuple[int, str]) -> None:
    asked = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        send(handler, b"", 302, Location=location.format(port=handler.server.server_address[1]))  # type: ignore[union-attr,str-bytes-safe]

    with internet(answer) as port:
        fetch = fetcher(port, ("img.example", "inner.example"), {"img_example": "127.0.0.1", "inner_example": "10.0.0.1", "other_example": "127.0.0.1"})
        assert refused(fetch, f"http://img.example:{port}/") == expected
    assert len(asked) <= 4


@pytest.mark.usefixtures("open_net")
def test_a_redirect_to_an_allowed_host_is_followed() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/":
            send(handler, b"", 301, Location="/there")
        else:
            send(handler, handler.path.encode())

    with internet(answer) as port:
        assert fetcher(port).fetch(f"http://img.example:{port}/") == b"/there"


@pytest.mark.usefixtures("open_net")
@pytest.mark.parametrize("declared", [True, False])
def test_more_bytes_than_allowed(declared: bool) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if declared:
            send(handler, b"x" * 1001)
            return
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"x" * 100)

    with internet(answer) as port:
        assert refused(fetcher(port), f"http://img.example:{port}/") == (413, "too_large")


@pytest.mark.usefixtures("open_net")
def test_a_server_that_drips_is_cut_off() -> None:
    """A byte now and then keeps a socket's own timeout from ever running out."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        with suppress(ConnectionError):
            for number in range(100):
                handler.wfile.write(f"X-Slow-{number}: yes\r\n".encode())
                handler.wfile.flush()
                time.sleep(0.1)

    with internet(answer) as port:
        begun = time.monotonic()
        assert refused(fetcher(port, fetch_timeout=0.5), f"http://img.example:{port}/") == (504, "fetch_timeout")
        assert time.monotonic() - begun < 5


@pytest.mark.usefixtures("open_net")
@pytest.mark.parametrize(
    "answer",
    [
        lambda handler: send(handler, status=404),
        lambda handler: send(handler, Content_Encoding="gzip"),
        lambda handler: send(handler, Content_Length="50"),
        lambda handler: handler.wfile.write(b"nonsense\r\n\r\n"),
        lambda _: None,
    ],
    ids=["404", "compressed", "cut short", "not HTTP", "nothing"],
)
def test_answers_that_are_no_image(answer: Answer) -> None:
    with internet(answer) as port:
        assert refused(fetcher(port), f"http://img.example:{port}/") == (502, "fetch_failed")


@pytest.mark.parametrize(
    "address",
    [
        "", "img.example/a.png", "file:///etc/passwd", "gopher://img.example/", "http://", "http:///a", "http://user:secret@img.example/",
        "http://img.example@10.0.0.1/", "http://img.example:99999/", "http://img.example\\@10.0.0.1/", "http://img.example/a b", "http://img.example/\r\nX: y",
        "http://ïmg.example/", "http://[::1", "http://img.example/" + "a" * 3000, "data:image/png;base64,AAAA",
    ],
)  # fmt: skip
def test_addresses_that_are_none(address: str) -> None:
    assert refused(Fetcher(ServiceSettings(fetch_hosts=("img.example", "*.example"))), address) == (422, "invalid_url")


def test_hosts_of_the_list() -> None:
    hosts = HostList(["img.example", "*.cdn.example", "other.example:8443"])
    yes = ["http://img.example/", "https://IMG.example./a", "https://a.cdn.example/", "http://a.b.cdn.example/", "https://other.example:8443/"]
    no = [
        "http://img.example:8080/",
        "http://cdn.example/",
        "http://evilcdn.example/",
        "http://other.example/",
        "http://img.example.evil/",
        "http://aimg.example/",
    ]
    assert all(parse_address(address) in hosts for address in yes)
    assert not any(parse_address(address) in hosts for address in no)
    for entry in ("https://img.example", "*", "a/b", "", "*.*.example", "user@img.example"):
        with pytest.raises(StegoError, match="--fetch"):
            HostList([entry])


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True), ("2606:2800:220:1::1", True), ("127.0.0.1", False), ("10.0.0.1", False), ("172.16.0.1", False), ("192.168.1.1", False),
        ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False), ("255.255.255.255", False), ("224.0.0.1", False), ("::1", False), ("::", False),
        ("fe80::1", False), ("fe80::1%eth0", False), ("fd00::1", False), ("ff02::1", False), ("::ffff:127.0.0.1", False), ("::ffff:93.184.216.34", True),
        ("2002:0a00:0001::1", False), ("64:ff9b::10.0.0.1", False), ("64:ff9b::93.184.216.34", True), ("2001:0:4136:e378:8000:63bf:f5ff:fffe", False),
    ],
)  # fmt: skip
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) == public


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_not(text: str) -> None:
    try:
        target = parse_address(text)
    except BadAddressError:
        return
    assert target.scheme in ("http", "https")
    assert target.path.startswith("/")


@given(st.ip_addresses(v=4))
def test_wrapping_makes_no_private_address_public(address: Any) -> None:
    text = str(address)
    if not is_public(text):
        packed = address.packed.hex()
        wrapped = (f"::ffff:{text}", f"64:ff9b::{text}", f"2002:{packed[:4]}:{packed[4:]}::1")
        assert not any(is_public(entry) for entry in wrapped)


def test_a_label_studio_below_a_path_of_its_host() -> None:
    with internet(send) as port:
        fetch = Fetcher(ServiceSettings(label_studio=f"http://127.0.0.1:{port}/annotate/"))
        assert fetch.from_label_studio("/annotate/data/upload/1/a.png") == b"picture"
        for path in ("/data/upload/1/a.png", "/annotate/api/users", "/annotate/data/../api/users"):
            with pytest.raises(FetchError, match="not one that images may be fetched from"):
                fetch.from_label_studio(path)
    with pytest.raises(StegoError, match="expected its address"):
        Fetcher(ServiceSettings(label_studio="http://localhost:8080/?project=1"))


def test_images_of_the_operators_label_studio_may_be_private(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LABEL_STUDIO_KEY, "its-token")
    seen: list[tuple[str, str | None]] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        seen.append((handler.path, handler.headers["Authorization"]))
        if handler.path.startswith("/tasks/"):
            send(handler, b"", 302, Location="http://10.0.0.1/secret")
        else:
            send(handler)

    with internet(answer) as port:
        fetch = Fetcher(ServiceSettings(label_studio=f"http://127.0.0.1:{port}"))
        assert fetch.from_label_studio("/data/upload/1/a.png") == b"picture"
        assert fetch.fetch(f"http://127.0.0.1:{port}/data/local-files/?d=a.png") == b"picture"
        assert refused(fetch, f"http://127.0.0.1:{port}/api/users") == (403, "url_not_allowed")
        assert refused(fetch, f"http://127.0.0.1:{port}/data/../api/users") == (403, "url_not_allowed")
        assert refused(fetch, f"http://127.0.0.1:{port}/data/%2e%2e/api/users") == (403, "url_not_allowed")
        assert refused(fetch, f"http://localhost:{port}/data/a.png") == (403, "url_not_allowed")
        assert refused(fetch, f"http://127.0.0.1:{port}/tasks/1/resolve/") == (403, "url_not_allowed")
    assert seen == [("/data/upload/1/a.png", "Token its-token"), ("/data/local-files/?d=a.png", "Token its-token"), ("/tasks/1/resolve/", "Token its-token")]
    with pytest.raises(FetchError, match="--label-studio"):
        Fetcher(ServiceSettings()).from_label_studio("/data/upload/1/a.png")
    with pytest.raises(StegoError, match="--label-studio"):
        Fetcher(ServiceSettings(label_studio="localhost:8080"))
