"""The answer that is a job's result: a file, whole or by ranges, whose refusals have the form of all others."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from api.errors import ApiError, error_response


class ResultFile(FileResponse):
    """`FileResponse`, which answers a range that is none in plain text, and fails where the file has just been removed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file.

        Raises:
            ApiError: 409 where it is gone.
        """
        refusal: ApiError | None = None
        begun = False

        async def checked(message: Message) -> None:
            nonlocal refusal, begun
            if message["type"] == "http.response.start" and message["status"] in (400, 416):
                refusal = _refusal(message)
            if refusal is None:
                begun = True
                await send(message)

        try:
            await super().__call__(scope, receive, checked)
        except (RuntimeError, FileNotFoundError) as error:
            if begun:
                raise
            raise ApiError(409, "no_result", "the job's result is gone from the disk of the service") from error
        if refusal is not None:
            await error_response(Request(scope), refusal)(scope, receive, send)


def _refusal(start: Message) -> ApiError:
    if start["status"] == 400:
        return ApiError(400, "bad_range", "Range: expected bytes=FIRST-LAST, counted from 0", field="Range")
    place = next((value.decode("latin-1") for name, value in start["headers"] if name.lower() == b"content-range"), "")
    message = f"Range: nothing of the result lies there; it has {place.rpartition('/')[2]} bytes"
    return ApiError(416, "range_not_satisfiable", message, field="Range", headers={"Content-Range": place})
