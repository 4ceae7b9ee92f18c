"""The layer before all routes: is the request from where it says, with a key that allows it, and not too often?"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from api.body import ENVELOPE, drain
from api.context import is_api_path
from api.errors import ApiError, error_body
from api.paths import is_below
from api.security.keys import Key, KeyRing
from api.security.rate import RateLimit
from api.security.scopes import ANY, scope_of

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_UNLIMITED = ("/health", "/v2/health", "/metrics")


class Guard:
    """ASGI layer that turns requests away before anything of their body is read.

    Args:
        app: the layer below.
        keys: without them no key is asked for.
        rate: without it there is no limit.
        origins: other origins whose pages may send requests that change something.
    """

    def __init__(self, app: ASGIApp, *, keys: KeyRing | None, rate: RateLimit | None, origins: Collection[str]) -> None:
        self._app = app
        self._keys = keys
        self._rate = rate
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope)
            except ApiError as error:
                await _refuse(error, scope, receive, send)
                return
        elif scope["type"] == "websocket":
            # No route speaks it; a page of another origin could open one past every check above.
            await send({"type": "websocket.close", "code": 1008})
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._check_origin(scope["method"], headers)
        key = self._check_key(scope, headers)
        if key is not None:
            scope.setdefault("state", {}).update(key=key.name, sees_all=key.allows("admin"))
        self._check_rate(scope, key)

    def _check_origin(self, method: str, headers: Headers) -> None:
        """A page of another origin cannot read our answers, but a browser would send its request, with a stored password."""
        origin = headers.get("origin")
        if method in _READING or origin is None or origin in self._origins:
            return
        if urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
            raise ApiError(403, "cross_origin", "requests from pages of another origin are not allowed; the service's operator can allow one with --cors")

    def _check_key(self, scope: Scope, headers: Headers) -> Key | None:
        needed = scope_of(scope["method"], scope["path"])
        if self._keys is None or needed is None:
            return None
        secret = presented_key(headers)
        key = self._keys.find(secret) if secret else None
        if key is None:
            what = "the API key is not known" if secret else "an API key is needed: send Authorization: Bearer KEY, or X-API-Key: KEY"
            # A browser asks its user for a password where a page, rather than REST, is refused.
            challenge = 'Bearer realm="stego"' if is_api_path(scope["path"]) else 'Basic realm="stego", charset="UTF-8"'
            # A stranger's tries count too.
            self._check_rate(scope, None)
            raise ApiError(401, "unauthorized", what, headers={"WWW-Authenticate": challenge})
        if needed != ANY and not key.allows(needed):
            raise ApiError(403, "forbidden", f"this API key does not allow it; expected one with the scope '{needed}'")
        return key

    def _check_rate(self, scope: Scope, key: Key | None) -> None:
        path = scope["path"]
        if self._rate is None or is_below(path, *_UNLIMITED):
            return
        if not is_api_path(path) and scope["method"] in _READING:
            return  # the page's own files
        client = f"key {key.name}" if key is not None else f"address {(scope.get('client') or ['-'])[0]}"
        wait = self._rate.take(client)
        if wait:
            raise ApiError(429, "too_many_requests", f"too many requests; try again in {wait} s", headers={"Retry-After": str(wait)})


def presented_key(headers: Headers) -> str | None:
    """The secret that a client sends: as bearer, as password (annotation tools and browsers), or in a header of its own."""
    kind, _, rest = headers.get("authorization", "").partition(" ")
    if kind.lower() in ("bearer", "token"):
        return rest.strip() or None
    if kind.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode("utf-8").partition(":")[2] or None
        except (binascii.Error, ValueError):
            return None
    return headers.get("x-api-key") or headers.get("token") or None


async def _refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    request_id = scope.get("state", {}).get("request_id")
    body = error_body(error.code, str(error.detail), field=error.field, request_id=request_id)
    headers = {**(error.headers or {}), "Cache-Control": "no-store", "Connection": "close"}
    if scope["method"] not in _READING:
        await drain(receive, ENVELOPE)
    await JSONResponse(body, error.status_code, headers)(scope, receive, send)
