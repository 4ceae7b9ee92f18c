"""The query of a request: what is misspelt there, or belongs into the body, is told rather than passed over."""

from __future__ import annotations

from fastapi import Request

from api.errors import ApiError


def known_query(request: Request) -> None:
    """Refuse a query with names that the route does not take. A dependency of routes: `?save_as=x` passed over would change the model itself.

    Raises:
        ApiError: 422 that names the first of them.
    """
    taken = [field.alias for field in request.scope["route"].dependant.query_params]
    unknown = next((name for name in request.query_params if name not in taken), None)
    if unknown is not None:
        expected = ", ".join(taken) or "nothing in the query, and options in the body"
        raise ApiError(422, "unknown_option", f"'{unknown[:40]}' is not an option of the query here; expected {expected}", field=unknown[:40])
