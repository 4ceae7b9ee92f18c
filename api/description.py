"""The service's OpenAPI description: what all routes have in common, and its file, which ``stego openapi > docs/openapi.json`` renews."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from api.openapi import errors
from api.security.scopes import ANY, scope_of

_SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, where the service asks for one."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same in a header of its own."},
}
_REFUSALS = (401, 403, 429)


def description() -> str:
    """The description as it is served, indented, with one line at the end.

    Raises:
        StegoError: the embedded segmenter cannot be loaded.
    """
    from api.app import create_app
    from api.settings import ServiceSettings

    return as_text(create_app(ServiceSettings(ui=False)))


def as_text(app: FastAPI) -> str:
    """The description of ``app`` as the file holds it."""
    return json.dumps(app.openapi(), indent=1, ensure_ascii=False) + "\n"


def describe_common_parts(app: FastAPI) -> None:
    """Have the description of ``app`` tell of keys, scopes and refusals, which no route declares by itself."""
    derive: Callable[[], dict[str, Any]] = app.openapi

    def complete() -> dict[str, Any]:
        document = derive()
        document["components"]["securitySchemes"] = _SCHEMES
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                _complete(operation, scope_of(method.upper(), path))
        return document

    app.openapi = complete  # type: ignore[method-assign]


def _complete(operation: dict[str, Any], scope: str | None) -> None:
    if scope is not None:
        # The empty one first: without a list of keys none is asked for.
        operation["security"] = [{}, *({name: []} for name in _SCHEMES)]
        operation["x-scope"] = "any key" if scope == ANY else scope
        for status, answer in errors(*_REFUSALS).items():
            shown = {"description": answer["description"], "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}}
            operation["responses"].setdefault(str(status), shown)
    operation["responses"] = dict(sorted(operation["responses"].items()))
