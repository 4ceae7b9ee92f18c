"""Fetches images by address: only from hosts on the operator's list, and never from a private address.

The name is looked up once, every address it has is checked, and the connection goes to one that was checked, so that a
name that changes its mind between the check and the connection gains nothing. Redirects are followed by hand, each
checked like the first address. Proxies of the environment are not used.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import unquote, urljoin

from api.security.addresses import BadAddressError, HostList, Target, is_public, parse_address
from api.settings import ServiceSettings
from models.errors import StegoError

LABEL_STUDIO_KEY = "LABEL_STUDIO_API_KEY"
"""Environment variable with the token that the service shows to Label Studio, as for Label Studio's own backends."""

_OWN_PATHS = ("/data/", "/tasks/")
"""Where Label Studio keeps its images, and where it sends on to those in a store. Nothing else there is asked for."""

_REDIRECTS = 3
_CHUNK = 1 << 16


class FetchError(StegoError):
    """An image that may not, or cannot, be fetched. ``code`` says why in a word, ``status`` is HTTP's."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Fetcher:
    """Fetches within the settings' limits.

    Args:
        settings: hosts, time, bytes, and the Label Studio that belongs to the service.
        resolve: looks names up; for tests.

    Raises:
        StegoError: an entry of the lists that is not as expected.
    """

    def __init__(self, settings: ServiceSettings, resolve: Callable[..., list[Any]] = socket.getaddrinfo) -> None:
        self._hosts = HostList(settings.fetch_hosts)
        self._seconds = settings.fetch_timeout
        self._max_bytes = settings.max_bytes
        self._resolve = resolve
        self._own = _own_address(settings.label_studio)
        self._token = os.environ.get(LABEL_STUDIO_KEY)

    def fetch(self, address: str) -> bytes:
        """The bytes behind ``address``.

        Raises:
            FetchError: an address that is none (422), not allowed (403), too large (413), or from which nothing can be had (502, 504).
        """
        deadline = time.monotonic() + self._seconds
        secure = False
        for _ in range(_REDIRECTS + 1):
            try:
                target = parse_address(address)
            except BadAddressError as error:
                raise FetchError(422, "invalid_url", str(error)) from error
            if secure and target.scheme != "https":
                raise FetchError(403, "url_not_allowed", "url: leads from https to http")
            secure = target.scheme == "https"
            content, address = self._one(target, self._checked_ip(target), deadline, address)
            if content is not None:
                return content
        raise FetchError(502, "fetch_failed", f"url: more than {_REDIRECTS} redirects")

    def from_label_studio(self, path: str) -> bytes:
        """The file that Label Studio calls ``path``, as "/data/…", from the one that the operator has named.

        Raises:
            FetchError: none was named, and see `fetch`.
        """
        if self._own is None:
            raise FetchError(403, "url_not_allowed", "url: a file of Label Studio; the service's operator can allow it with --label-studio ADDRESS")
        scheme, host, port = self._own.origin
        shown = f"[{host}]" if ":" in host else host
        return self.fetch(f"{scheme}://{shown}:{port}{path}")

    def _is_own(self, target: Target) -> bool:
        """Whether it is an image of the operator's Label Studio, whose address may be private."""
        if self._own is None or target.origin != self._own.origin:
            return False
        base = self._own.path.rstrip("/")  # Label Studio may live below a path of its host
        return target.path.startswith(tuple(base + path for path in _OWN_PATHS)) and ".." not in unquote(target.path)

    def _checked_ip(self, target: Target) -> str:
        """The address to connect to."""
        own = self._is_own(target)
        if not own and target not in self._hosts:
            raise FetchError(
                403, "url_not_allowed", "url: its host is not one that images may be fetched from; the service's operator can allow one with --fetch"
            )
        try:
            found = [str(entry[4][0]) for entry in self._resolve(target.host, target.port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError):
            found = []
        if not found:
            raise FetchError(502, "fetch_failed", "url: its host is not known")
        if not own and not all(is_public(ip) for ip in found):
            raise FetchError(403, "url_not_allowed", "url: leads to an address that is not public")
        return found[0]

    def _one(self, target: Target, ip: str, deadline: float, address: str) -> tuple[bytes | None, str]:
        """The content, or None and where to look instead."""
        headers = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "stego"}
        if self._token and self._is_own(target):
            headers["Authorization"] = f"Token {self._token}"
        connection = (_Secure if target.scheme == "https" else _Plain)(target, ip, max(0.01, deadline - time.monotonic()))
        try:
            with _ended_at(deadline, connection):
                connection.request("GET", target.path, headers=headers)
                answer = connection.getresponse()
                if answer.status in (301, 302, 303, 307, 308):
                    return None, urljoin(address, answer.headers.get("Location", ""))
                if answer.status != 200:
                    raise FetchError(502, "fetch_failed", f"url: its server answered {answer.status}")
                content = self._content(answer)
            if time.monotonic() >= deadline:  # it was cut off, which looks like an end
                raise TimeoutError
            return content, address
        except (OSError, http.client.HTTPException, ValueError) as error:
            if time.monotonic() >= deadline:
                raise FetchError(504, "fetch_timeout", f"url: nothing within {self._seconds:g} s") from error
            raise FetchError(502, "fetch_failed", "url: its server cannot be reached, or does not speak HTTP") from error
        finally:
            connection.close()

    def _content(self, answer: http.client.HTTPResponse) -> bytes:
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise FetchError(502, "fetch_failed", "url: its server sends compressed content, which was not asked for")
        parts: list[bytes] = []
        total = 0
        while part := answer.read1(_CHUNK):
            parts.append(part)
            total += len(part)
            if total > self._max_bytes:
                raise FetchError(413, "too_large", f"url: more than the {self._max_bytes:,} bytes allowed")
        if answer.length:
            raise FetchError(502, "fetch_failed", "url: its server sent less than it had announced")
        return b"".join(parts)


def _own_address(address: str | None) -> Target | None:
    if address is None:
        return None
    try:
        own = parse_address(address)
    except BadAddressError:
        own = None
    if own is None or "?" in own.path:
        raise StegoError(f"--label-studio {address}: expected its address, as http://localhost:8080")
    return own


class _Plain(http.client.HTTPConnection):
    """Connects to one IP address, whatever the host's name leads to by now."""

    def __init__(self, target: Target, ip: str, seconds: float) -> None:
        super().__init__(target.host, target.port, timeout=seconds)
        self._ip = ip

    def connect(self) -> None:
        self.sock = socket.create_connection((self._ip, self.port), self.timeout)


class _Secure(_Plain):
    """The same over TLS; the certificate has to be the host's."""

    default_port = 443

    def connect(self) -> None:
        super().connect()
        self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


@contextmanager
def _ended_at(deadline: float, connection: http.client.HTTPConnection) -> Iterator[None]:
    """Cut the connection at ``deadline``: a timeout of a socket starts anew with every byte, so a slow server could go on for ever."""

    def cut() -> None:
        with suppress(OSError, AttributeError):
            connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
