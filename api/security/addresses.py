"""Which internet addresses and hosts images may be fetched from."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from models.errors import StegoError

DEFAULT_PORTS = {"http": 80, "https": 443}

_HOST = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LONGEST = 2048


@dataclass(frozen=True)
class Target:
    """Where an address leads: scheme, host and port, and the path with its query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port."""
        return self.scheme, self.host, self.port


class BadAddressError(StegoError):
    """An address that is none, or of a kind that is never fetched."""


def parse_address(address: str) -> Target:
    """The parts of an http or https address.

    Raises:
        BadAddressError: another scheme, a password in it, no host, or characters that an address cannot have.
    """
    if len(address) > _LONGEST or not address.isascii() or not address.isprintable() or " " in address or "\\" in address:
        raise BadAddressError(f"url: expected an http or https address of at most {_LONGEST} plain characters")
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise BadAddressError("url: expected an http or https address") from None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise BadAddressError("url: expected an address that starts with http:// or https://")
    if "@" in parts.netloc:
        raise BadAddressError("url: expected an address without user and password")
    return Target(parts.scheme, parts.hostname.rstrip("."), DEFAULT_PORTS[parts.scheme] if port is None else port, _path(parts))


class HostList:
    """Hosts by name: "example.org", all below one as "*.example.org", with a port as "example.org:8443".

    Raises:
        StegoError: an entry that is not of these forms.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._entries = tuple(entry.lower() for entry in entries)
        for entry in self._entries:
            if not _HOST.fullmatch(entry):
                raise StegoError(f"--fetch {entry}: expected a host, as example.org, *.example.org or example.org:8443")

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __contains__(self, target: Target) -> bool:
        return any(_matches(entry, target) for entry in self._entries)


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet, and so is every address inside of it.

    IPv6 can carry an IPv4 address (mapped, 6to4, Teredo, NAT64); a private one in such a wrapping is private.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return _is_global(found)
    if found.ipv4_mapped is not None:
        return _is_global(found.ipv4_mapped)
    if found in _NAT64:
        return _is_global(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
    carried = [entry for entry in (found.sixtofour, *(found.teredo or ())) if entry is not None]
    return _is_global(found) and all(_is_global(entry) for entry in carried)


def _is_global(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback or address.is_link_local)


def _matches(entry: str, target: Target) -> bool:
    host, _, port = entry.partition(":")
    if target.port != (int(port) if port else DEFAULT_PORTS[target.scheme]):
        return False
    return target.host.endswith(host[1:]) if host.startswith("*.") else target.host == host


def _path(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
