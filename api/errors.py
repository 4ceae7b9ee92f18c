"""Every problem a client can meet is one JSON object: ``{"error": {"code", "message", "field", "request_id"}}``."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from models.errors import StegoError


class ApiError(HTTPException):
    """An answer other than success: HTTP status, a short machine-readable code, one line for a person.

    It derives from Starlette's own exception so that an error raised while a body is read passes through
    frameworks (ours, Gradio's) as the status it names.
    """

    def __init__(self, status: int, code: str, message: str, *, field: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail=message, headers=dict(headers or {}))
        self.code = code
        self.field = field


def error_body(code: str, message: str, *, field: str | None = None, request_id: str | None = None) -> dict[str, Any]:
    """The JSON object of an error; ``message`` is brought to one line."""
    # A client's own words may be repeated here, and JSON can smuggle in halves of characters that no answer can be written with.
    shown = None if field is None else _writable(field)
    return {"error": {"code": code, "message": _writable(" ".join(message.split())), "field": shown, "request_id": request_id}}


def _writable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def error_response(request: Request, error: ApiError) -> JSONResponse:
    """The answer for ``error``."""
    body = error_body(error.code, str(error.detail), field=error.field, request_id=getattr(request.state, "request_id", None))
    return JSONResponse(body, status_code=error.status_code, headers={**(error.headers or {}), "Cache-Control": "no-store"})


def install_error_handlers(app: FastAPI) -> None:
    """Make ``app`` answer in the one form of errors."""

    async def on_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        if not isinstance(error, ApiError):
            # Of FastAPI's own, 400 is for a body that is no text, or nested too deeply.
            damaged = error.status_code == 400
            code, message = ("bad_json", "the body is not JSON that can be read") if damaged else (_code(error.status_code), str(error.detail))
            error = ApiError(error.status_code, code, message, headers=error.headers)
        return error_response(request, error)

    async def on_validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return error_response(request, ApiError(400, "bad_json", f"the body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}"))
        # The first part says whether it lies in the path, the query or the body.
        field = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        return error_response(request, ApiError(422, "invalid_option", f"{field}: {first['msg']}", field=field))

    async def on_stego(request: Request, error: Exception) -> JSONResponse:
        return error_response(request, ApiError(422, "invalid_request", str(error)))

    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(StegoError, on_stego)


def _code(status: int) -> str:
    return HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")
