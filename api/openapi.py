"""The parts of the OpenAPI description that FastAPI cannot derive: bodies read by hand, and one form of error."""

from __future__ import annotations

from typing import Any

from api.negotiation import JSON, OVERLAY, PNG
from api.options import SegmentOptions
from api.schemas import ErrorBody, SegmentSummary

_MEANING = {
    400: "An empty or malformed body.",
    404: "No such model or path.",
    405: "The path exists, the method does not.",
    406: "None of the forms on offer is acceptable.",
    408: "The body did not arrive in time.",
    413: "Too many bytes or pixels.",
    415: "Not an image, or an unsupported content type.",
    422: "An option or an image that cannot be used.",
    500: "A failure of the service; its log has the reason under the request id.",
    503: "The queue is full; see Retry-After.",
    504: "The image took longer than the service allows.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route for these statuses."""
    return {status: {"model": ErrorBody, "description": _MEANING[status]} for status in statuses}


def _schema(name: str) -> dict[str, Any]:
    return {key: value for key, value in SegmentOptions.model_json_schema()["properties"][name].items() if key != "title"}


def segment_operation() -> dict[str, Any]:
    """Parameters and bodies of ``POST /v1/segment``, from the same model that parses them."""
    parameters = []
    for name in SegmentOptions.model_fields:
        schema = _schema(name)
        description = schema.pop("description")
        parameters.append({"name": name, "in": "query", "required": False, "description": description, "schema": schema})
    binary = {"type": "string", "format": "binary"}
    form = {"type": "object", "required": ["image"], "properties": {"image": binary, **{name: _schema(name) for name in SegmentOptions.model_fields}}}
    example = {"example": {"image": "(the bytes of photo.jpg)", "classes": 12, "crf": True}}
    content: dict[str, Any] = {"multipart/form-data": {"schema": form, **example}}
    content |= {kind: {"schema": binary} for kind in ("image/*", "application/octet-stream")}
    return {"parameters": parameters, "requestBody": {"required": True, "description": "The image, as a form field or raw.", "content": content}}


def segment_responses() -> dict[int | str, dict[str, Any]]:
    """The three forms of success and the errors of ``POST /v1/segment``."""
    picture = {"schema": {"type": "string", "format": "binary"}}
    success = {"model": SegmentSummary, "description": "The segmented image in the form asked for.", "content": {JSON: {}, PNG: picture, OVERLAY: picture}}
    return {200: success, **errors(400, 404, 406, 408, 413, 415, 422, 500, 503, 504)}
