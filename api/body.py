"""Limits on request bodies, counted as they arrive: a length that a client declares is not believed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError
from api.paths import is_below

ENVELOPE = 64 * 1024
"""Bytes that multipart headers, form fields or the rest of a JSON object may add to the file itself."""

_DRAIN_BYTES = 2  # times the limit
_DRAIN_SECONDS = 5.0


@dataclass(frozen=True)
class BodyRule:
    """What a body may be: a file of ``max_bytes``, sent within ``seconds``; ``field`` is what a message calls it, ``held``: in memory, not on the disk."""

    max_bytes: int
    seconds: float
    field: str = "image"
    held: bool = True


class BodyLimit:
    """ASGI layer that ends requests whose body is too large (413) or too slow (408), for every route below it.

    A client that is refused while it still sends would see a reset connection in place of the answer, so what it
    sends is read and thrown away for a short while before the answer goes out.

    Args:
        app: the layer below.
        rule: for all paths that no other rule is for.
        rules: by the beginning of the path.
        most: bytes that all bodies held in memory may have together, until their requests are answered; more are turned away (503).
    """

    def __init__(self, app: ASGIApp, *, rule: BodyRule, rules: Mapping[str, BodyRule] | None = None, most: int) -> None:
        self._app = app
        self._rule = rule
        self._rules = dict(rules or {})
        self._most = most
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        rule = self._rule_for(scope["path"])
        headers = dict(scope["headers"])
        limit = _largest(rule, headers)
        deadline = time.monotonic() + rule.seconds
        declared = _declared_length(headers)
        total = 0
        complete = False

        async def limited() -> Message:
            nonlocal total, complete
            if complete:
                return await receive()  # only news of the client leaving can follow
            if declared > limit:
                # curl asks before it sends a large body: refusing at once spares both sides the upload.
                if headers.get(b"expect", b"").lower() != b"100-continue":
                    await drain(receive, limit)
                raise _too_large(rule)
            message = await _in_time(receive, deadline, rule.seconds)
            size = len(message.get("body", b""))
            total += size
            self._held += size if rule.held else 0
            complete = message["type"] != "http.request" or not message.get("more_body", False)
            if total > limit or self._held > self._most:
                refusal = _too_large(rule) if total > limit else _no_room()
                if not complete:
                    await drain(receive, limit)
                raise refusal
            return message

        try:
            await self._app(scope, limited, send)
        finally:
            self._held -= total if rule.held else 0

    def _rule_for(self, path: str) -> BodyRule:
        return next((rule for start, rule in self._rules.items() if is_below(path, start)), self._rule)


def largest_json(max_bytes: int) -> int:
    """Bytes of the largest body that holds a file in JSON: base64 takes four bytes for three."""
    return max_bytes * 4 // 3 + ENVELOPE


def _largest(rule: BodyRule, headers: Mapping[bytes, bytes]) -> int:
    """Bytes of the largest body."""
    encoded = headers.get(b"content-type", b"").lower().startswith(b"application/json")
    return largest_json(rule.max_bytes) if encoded else rule.max_bytes + ENVELOPE


def _too_large(rule: BodyRule) -> ApiError:
    # Connection: close, since the rest of the body may still be on its way.
    message = f"the request is larger than the {rule.max_bytes:,} bytes allowed"
    return ApiError(413, "too_large", message, field=rule.field, headers={"Connection": "close"})


async def drain(receive: Receive, limit: int) -> None:
    """Read on for a short while and throw away what comes, so that the client reads our answer rather than meets a closed connection."""
    left = limit * _DRAIN_BYTES
    deadline = time.monotonic() + _DRAIN_SECONDS
    try:
        while left > 0:
            message = await asyncio.wait_for(receive(), deadline - time.monotonic())
            left -= len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body", False):
                return
    except TimeoutError:
        return


def _no_room() -> ApiError:
    headers = {"Retry-After": "5", "Connection": "close"}
    return ApiError(503, "busy", "the service holds as many bytes of others' requests as it may; try again later", headers=headers)


def _declared_length(headers: Mapping[bytes, bytes]) -> int:
    text = headers.get(b"content-length", b"")
    return int(text) if text.isdigit() else 0


async def _in_time(receive: Receive, deadline: float, seconds: float) -> Message:
    try:
        return await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        raise ApiError(408, "upload_timeout", f"the request's body did not arrive within {seconds:g} s", headers={"Connection": "close"}) from None
