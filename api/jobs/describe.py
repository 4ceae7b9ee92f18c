"""The OpenAPI description of bodies that are read by hand."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


def _schema(options: type[BaseModel], name: str) -> dict[str, Any]:
    return {key: value for key, value in options.model_json_schema()["properties"][name].items() if key != "title"}


def archive_operation(options: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """Parameters and bodies of a route that takes a zip and ``options``, from the model that parses them."""
    required = set(options.model_json_schema().get("required", ()))
    parameters = []
    for name in options.model_fields:
        schema = _schema(options, name)
        description = schema.pop("description")
        # A required option may come as a form field instead, so that no parameter of the query is.
        parameters.append({"name": name, "in": "query", "required": False, "description": description, "schema": schema})
    binary = {"type": "string", "format": "binary"}
    properties = {"images": binary, **{name: _schema(options, name) for name in options.model_fields}}
    form = {"type": "object", "required": ["images", *sorted(required)], "properties": properties}
    content: dict[str, Any] = {"multipart/form-data": {"schema": form, "example": {"images": "(the bytes of photos.zip)", **example}}}
    content |= {kind: {"schema": binary} for kind in ("application/zip", "application/octet-stream")}
    return {"parameters": parameters, "requestBody": {"required": True, "description": "The zip of images, as a form field or raw.", "content": content}}
