"""The parts of the OpenAPI description that FastAPI cannot derive: bodies read by hand, and one form of error."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from api.negotiation import COCO, HUGGING_FACE, JSON, OVERLAY, PNG
from api.options import SegmentOptions
from api.schemas import CocoDocument, ErrorBody, HuggingFaceSegment, SegmentSummary

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGOI6jkBAALyAa/7JoUyAAAAAElFTkSuQmCC"
"""A PNG of one pixel in base64: the image of the examples."""

_MEANING = {
    400: "An empty or malformed body.",
    401: "An API key is needed, or the one sent is not known.",
    403: "The API key, the page's origin or the address to fetch is not allowed.",
    404: "No such model or path.",
    405: "The path exists, the method does not.",
    406: "None of the forms on offer is acceptable.",
    408: "The body did not arrive in time.",
    409: "Not as things are: a name is taken, a model is built in, a job is not done.",
    412: "The model has changed since.",
    413: "Too many bytes or pixels.",
    415: "Not an image, or an unsupported content type.",
    416: "The range asked for is none of the result's.",
    422: "An option or an image that cannot be used.",
    429: "Too many requests; see Retry-After.",
    500: "A failure of the service; its log has the reason under the request id.",
    502: "The address given could not be fetched.",
    503: "The queue is full; see Retry-After.",
    504: "The image took longer than the service allows.",
    507: "The disk of the service is full, or cannot be written to.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route for these statuses."""
    return meanings(ErrorBody, *statuses)


def meanings(model: type[BaseModel], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same with errors of another form."""
    return {status: {"model": model, "description": _MEANING[status]} for status in statuses}


def _schema(name: str) -> dict[str, Any]:
    return {key: value for key, value in SegmentOptions.model_json_schema()["properties"][name].items() if key != "title"}


def segment_operation() -> dict[str, Any]:
    """Parameters and bodies of ``POST /v1/segment``, from the same model that parses them."""
    parameters = []
    for name in SegmentOptions.model_fields:
        schema = _schema(name)
        description = schema.pop("description")
        parameters.append({"name": name, "in": "query", "required": False, "description": description, "schema": schema})
    options = {name: _schema(name) for name in SegmentOptions.model_fields}
    binary = {"type": "string", "format": "binary"}
    encoded = {"type": "string", "format": "byte", "description": "The image file in base64, plain or as a data: URI."}
    address = {"type": "string", "format": "uri", "description": "Fetched only from hosts that the operator has allowed."}
    form = {"type": "object", "required": ["image"], "properties": {"image": binary, **options}}
    members: dict[str, Any] = {
        "type": "object",
        "properties": {"image": encoded, "url": address, "inputs": encoded, "parameters": {"type": "object"}, **options},
    }
    members["oneOf"] = [{"required": ["image"]}, {"required": ["url"]}, {"required": ["inputs"]}]
    content: dict[str, Any] = {
        "multipart/form-data": {"schema": form, "example": {"image": "(the bytes of photo.jpg)", "classes": 12, "crf": True}},
        JSON: {
            "schema": members,
            "examples": {
                "base64": {"summary": "An image and options", "value": {"image": PIXEL, "classes": 12}},
                "hugging_face": {"summary": "As the Hugging Face clients send it", "value": {"inputs": PIXEL, "parameters": {"format": "hf"}}},
            },
        },
        **{kind: {"schema": binary} for kind in ("image/*", "application/octet-stream")},
    }
    return {"parameters": parameters, "requestBody": {"required": True, "description": "The image, as a form field, raw, or in JSON.", "content": content}}


def segment_responses() -> dict[int | str, dict[str, Any]]:
    """The forms of success and the errors of ``POST /v1/segment``."""
    picture = {"schema": {"type": "string", "format": "binary"}}
    success = {
        "model": SegmentSummary | CocoDocument | list[HuggingFaceSegment],
        "description": "The segmented image in the form asked for; by `format`, COCO and Hugging Face come as application/json.",
        "content": {
            JSON: {},
            PNG: picture,
            OVERLAY: picture,
            COCO: {"schema": _reference(CocoDocument)},
            HUGGING_FACE: {"schema": _list_of(HuggingFaceSegment)},
        },
    }
    return {200: success, **errors(400, 401, 403, 404, 406, 408, 413, 415, 422, 429, 500, 502, 503, 504)}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """The description of a body that is read by hand and validated as ``model``."""
    schema = model.model_json_schema(by_alias=True)
    return {"requestBody": {"required": True, "content": {JSON: {"schema": _inlined(schema, schema.pop("$defs", {}))}}}}


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """``schema`` with its references replaced by what they refer to: the description's own list of schemas does not know them."""
    if isinstance(schema, dict):
        name = str(schema.get("$ref", "")).rpartition("/")[2]
        return _inlined(definitions[name], definitions) if name else {key: _inlined(value, definitions) for key, value in schema.items()}
    return [_inlined(entry, definitions) for entry in schema] if isinstance(schema, list) else schema


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _list_of(model: type[BaseModel]) -> dict[str, Any]:
    return {"type": "array", "items": _reference(model)}
