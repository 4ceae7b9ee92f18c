"""JSON bodies from clients: bounded, strict, and never a surprise to the rest of the service."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from api.errors import ApiError

M = TypeVar("M", bound=BaseModel)

MOST_PARTS = 300_000
"""Lists, objects and members in a body at most: reading millions of them takes seconds in which nothing else in this process gets on."""

_DATA_URI = re.compile(r"data:[\w.+-]*/?[\w.+-]*(?:;[\w=.+-]+)*;base64,", re.ASCII)
_SPACE = re.compile(r"\s+")


async def read_json_object(request: Request) -> dict[str, Any]:
    """The body of ``request``, which is one JSON object.

    Raises:
        ApiError: 400 for what is not JSON (or nested too deeply, or of too many parts, for anything we read), 422 for JSON that is not an object.
    """
    body = await request.body()
    if sum(body.count(mark) for mark in (b"[", b"{", b":")) > MOST_PARTS:
        raise ApiError(400, "bad_json", f"the body has more than {MOST_PARTS:,} lists, objects and members; expected far fewer beside an image")
    try:
        document = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, "bad_json", f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ApiError(422, "not_an_object", f"the body is {_kind(document)}; expected a JSON object")
    return document


def is_json(request: Request) -> bool:
    """Whether the body is said to be JSON."""
    return media_type_of(request) == "application/json"


def media_type_of(request: Request) -> str:
    """What the body is said to be, in lower case and without parameters; empty where nothing is said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def decode_image(text: object, field: str) -> bytes:
    """The bytes of an image given as base64, with or without ``data:…;base64,`` before it; line breaks are allowed.

    Raises:
        ApiError: 422 that names ``field``.
    """
    if not isinstance(text, str):
        raise ApiError(422, "not_base64", f"{field}: {_kind(text)}; expected the image's bytes in base64, as a string", field=field)
    start = _DATA_URI.match(text[:200])
    try:
        return base64.b64decode(_SPACE.sub("", text[start.end() if start else 0 :]), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(422, "not_base64", f"{field}: expected the image's bytes in base64, plain or as a data: URI", field=field) from error


def validated(model: type[M], document: dict[str, Any]) -> M:
    """``document`` as a model.

    Raises:
        ApiError: 422 that names the member that is not as expected.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])[:100]
        raise ApiError(422, "invalid_request", f"{field}: {first['msg']}", field=field) from error


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), "of another kind")
