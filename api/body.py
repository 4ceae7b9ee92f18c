"""Limits on request bodies, counted as they arrive: a length that a client declares is not believed."""

from __future__ import annotations

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError

ENVELOPE = 64 * 1024
"""Bytes that multipart headers and form fields may add to the image file."""

_DRAIN_BYTES = 2  # times the limit
_DRAIN_SECONDS = 5.0


class BodyLimit:
    """ASGI layer that ends requests whose body is too large (413) or too slow (408), for every route below it.

    A client that is refused while it still sends would see a reset connection in place of the answer, so what it
    sends is read and thrown away for a short while before the answer goes out.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, seconds: float) -> None:
        self._app = app
        self._limit = max_bytes + ENVELOPE
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        deadline = time.monotonic() + self._seconds
        declared = _declared_length(headers)
        total = 0
        complete = False

        async def limited() -> Message:
            nonlocal total, complete
            if complete:
                return await receive()  # only news of the client leaving can follow
            if declared > self._limit:
                # curl asks before it sends a large body: refusing at once spares both sides the upload.
                if headers.get(b"expect", b"").lower() != b"100-continue":
                    await self._drain(receive)
                raise self._too_large()
            message = await _in_time(receive, deadline, self._seconds)
            total += len(message.get("body", b""))
            complete = message["type"] != "http.request" or not message.get("more_body", False)
            if total > self._limit:
                if not complete:
                    await self._drain(receive)
                raise self._too_large()
            return message

        await self._app(scope, limited, send)

    def _too_large(self) -> ApiError:
        # Connection: close, since the rest of the body may still be on its way.
        return ApiError(413, "too_large", f"the request is larger than the {self._max_bytes:,} bytes allowed", field="image", headers={"Connection": "close"})

    async def _drain(self, receive: Receive) -> None:
        left = self._limit * _DRAIN_BYTES
        deadline = time.monotonic() + _DRAIN_SECONDS
        try:
            while left > 0:
                message = await asyncio.wait_for(receive(), deadline - time.monotonic())
                left -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
        except TimeoutError:
            return


def _declared_length(headers: dict[bytes, bytes]) -> int:
    text = headers.get(b"content-length", b"")
    return int(text) if text.isdigit() else 0


async def _in_time(receive: Receive, deadline: float, seconds: float) -> Message:
    try:
        return await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        raise ApiError(408, "upload_timeout", f"the request's body did not arrive within {seconds:g} s", headers={"Connection": "close"}) from None
