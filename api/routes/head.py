"""HEAD for every path that answers GET: load balancers, monitors and `curl -I` ask so."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute


def head_routes(routes: Iterable[BaseRoute]) -> list[BaseRoute]:
    """A route for HEAD beside each of ``routes`` for GET; FastAPI makes none. The server leaves the body out of the answer."""
    return [_for_head(route) for route in routes if isinstance(route, APIRoute) and "GET" in (route.methods or ())]


def _for_head(route: APIRoute) -> APIRoute:
    found = copy.copy(route)
    found.methods = {"HEAD"}
    found.include_in_schema = False
    return found
