"""What surrounds every request: an id, safe headers, one line in the access log, and a last resort for what goes wrong."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import error_body
from api.paths import is_below

access_log = logging.getLogger("stego.access")
error_log = logging.getLogger("stego.error")

API_PREFIXES = ("/v1", "/v2", "/health", "/openapi.json", "/metrics", "/predict", "/setup", "/webhook", "/label-studio", "/xanylabeling")
"""Paths that belong to the service; all others belong to the page."""

CLIENT_LEFT = 499
"""nginx's number for a client that left before the answer."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CLIENT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_API_POLICY = "default-src 'none'; frame-ancestors 'none'"
# Gradio writes scripts and styles into the page; everything still has to come from this server.
_PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


def is_api_path(path: str) -> bool:
    """Whether ``path`` belongs to the service rather than to the page."""
    return is_below(path, *API_PREFIXES)


class RequestContext:
    """The outermost ASGI layer below the server.

    Args:
        app: the layer below.
        stopping: set when the service shuts down. The page's event streams never end by themselves; they are ended
            then, so that an open tab does not hold the service up.
        answered: told method, route, status and seconds of each request.
    """

    def __init__(self, app: ASGIApp, *, stopping: asyncio.Event, answered: Callable[[str, str, int, float], None]) -> None:
        self._app = app
        self._stopping = stopping
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        request_id = _request_id(Headers(scope=scope).get("x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id
        api = is_api_path(scope["path"])
        status = 0
        sent = 0

        async def decorated(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in _SECURITY.items():
                    headers[name] = value
                headers["Content-Security-Policy"] = _API_POLICY if api else _PAGE_POLICY
            sent += len(message.get("body", b""))
            await send(message)

        try:
            if api or scope["method"] != "GET":
                await self._app(scope, receive, decorated)
            else:
                await self._until_stopping(self._app(scope, receive, decorated))
        except ClientDisconnect:  # in the midst of its body: nobody is there to be answered
            status = CLIENT_LEFT
        except Exception:
            error_log.exception("request %s failed", request_id)
            if not status:
                message = f"the service failed on this request; its log has the reason under {request_id}"
                await JSONResponse(error_body("internal_error", message, request_id=request_id), 500)(scope, receive, decorated)
        finally:
            seconds = time.perf_counter() - begun
            status = status or CLIENT_LEFT
            self._answered(_method(scope["method"]), _route(scope, api), status, seconds)
            _log(scope, request_id, status, sent, 1000 * seconds, logging.INFO if api else logging.DEBUG)

    async def _until_stopping(self, answer: Awaitable[None]) -> None:
        answering = asyncio.ensure_future(answer)
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({answering, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
        finally:
            stopped.cancel()
            if not answering.done():
                answering.cancel()
                with suppress(asyncio.CancelledError):
                    await answering


def _request_id(given: str | None) -> str:
    """The client's own id where it is harmless in a log, else a fresh one."""
    return given if given and _CLIENT_ID.fullmatch(given) else uuid.uuid4().hex


def _method(given: str) -> str:
    return given if given in _METHODS else "other"


def _route(scope: Scope, api: bool) -> str:
    """The path as the route has it (``/v1/models/{name}``), so that clients cannot make up names without end."""
    if not api:
        return "page"
    path = getattr(scope.get("route"), "path_format", None)
    return path if isinstance(path, str) and "{rest" not in path else "other"


def _log(scope: Scope, request_id: str, status: int, sent: int, milliseconds: float, level: int) -> None:
    if access_log.isEnabledFor(level):
        line = {
            "event": "request",
            "request_id": request_id,
            "client": (scope.get("client") or ["-"])[0],
            "method": scope["method"],
            "path": scope["path"],
            "key": scope.get("state", {}).get("key"),
            "status": status,
            "bytes_out": sent,
            "ms": round(milliseconds, 1),
        }
        access_log.log(level, json.dumps(line))
