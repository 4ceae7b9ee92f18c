"""Paths under the service's prefixes that no route answers: 404, or 405 where only the method is wrong.

Without these the page, mounted at ``/``, would answer them.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.routing import BaseRoute, Match

from api.context import API_PREFIXES
from api.errors import ApiError

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


def unknown_router(known: Sequence[BaseRoute]) -> APIRouter:
    """Catch-all routes; to be included after the ``known`` ones."""
    router = APIRouter(include_in_schema=False)

    async def unknown(request: Request) -> None:
        allowed = _methods_at(known, request)
        if allowed:
            listed = ", ".join(sorted(allowed))
            raise ApiError(405, "method_not_allowed", f"{request.method} is not allowed here; expected {listed}", headers={"Allow": listed})
        raise ApiError(404, "not_found", "no such path; /openapi.json lists all of them")

    for prefix in API_PREFIXES:
        router.add_api_route(prefix, unknown, methods=_METHODS)
        router.add_api_route(prefix + "/{rest:path}", unknown, methods=_METHODS)
    return router


def _methods_at(routes: Sequence[BaseRoute], request: Request) -> set[str]:
    """Methods that ``routes`` take at the request's path."""
    allowed: set[str] = set()
    for route in routes:
        match, _ = route.matches(request.scope)
        if match is Match.PARTIAL:
            allowed |= set(getattr(route, "methods", None) or ())
    return allowed
