"""Takes the archive of a request to a file as it arrives; only form fields are held in memory."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from api.errors import ApiError
from stego_app.atomic import output_error

log = logging.getLogger("stego.jobs")

_FIELD = "images"
_FIELD_BYTES = 4096
_FIELDS = 32
_BUFFER = 1 << 20
_WANTED = "send multipart/form-data with a zip in the file field 'images', or the zip's bytes with Content-Type application/zip"
_RAW = {"application/zip", "application/x-zip-compressed", "application/octet-stream"}


@dataclass(frozen=True)
class Received:
    """What came beside the archive: form fields, and what the client calls the archive, in letters, digits, dashes and underscores."""

    name: str
    fields: tuple[tuple[str, str], ...]


class _Body(Protocol):
    """Takes a body apart as it comes."""

    def write(self, data: bytes, file: BinaryIO) -> None: ...
    def received(self) -> Received: ...


async def receive_archive(request: Request, target: Path) -> Received:
    """Write the archive of ``request`` to ``target``.

    Raises:
        ApiError: 415 for another content type, 400 for a malformed or empty body, 422 for fields that have no place here,
            507 where the disk is full or may not be written to.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise ApiError(415, "unsupported_encoding", f"Content-Encoding '{encoding[:40]}': expected none; a zip is compressed already")
    media_type, options = parse_options_header(request.headers.get("content-type", ""))
    kind = media_type.decode("latin-1").lower()
    body: _Body
    try:
        if kind == "multipart/form-data" and options.get(b"boundary"):
            body = _Form(options[b"boundary"])
        elif kind in _RAW:
            body = _Raw()
        else:
            got = f"Content-Type '{kind[:60]}'" if kind else "no Content-Type"
            raise ApiError(415, "unsupported_media_type", f"{got}: {_WANTED}")
        await _take(request.stream(), body, target)
    except OSError as error:
        log.error("an archive cannot be received: %s", error)
        raise no_room(output_error(target, error)) from error
    except FormParserError as error:
        raise ApiError(400, "bad_multipart", f"multipart body: {error}") from error
    return body.received()


def no_room(error: Exception) -> ApiError:
    """The answer where the data folder cannot be written to; where it lies is not the client's to know."""
    if any(sign in str(error).lower() for sign in ("no space left", "disk is full")):
        return ApiError(507, "disk_full", "the service has no space left on its disk; try again later", headers={"Retry-After": "60"})
    return ApiError(507, "storage_unavailable", "the service cannot write to its data folder; its log has the reason")


async def _take(stream: AsyncIterator[bytes], body: _Body, target: Path) -> None:
    """Write what arrives in pieces large enough to be worth a thread."""
    held = bytearray()
    with target.open("wb") as file:
        async for chunk in stream:
            held += chunk
            if len(held) >= _BUFFER:
                await run_in_threadpool(body.write, bytes(held), file)
                held.clear()
        await run_in_threadpool(body.write, bytes(held), file)


class _Raw:
    """The body is the file."""

    def __init__(self) -> None:
        self._empty = True

    def write(self, data: bytes, file: BinaryIO) -> None:
        self._empty = self._empty and not data
        file.write(data)

    def received(self) -> Received:
        if self._empty:
            raise ApiError(400, "empty_archive", "images: 0 bytes; expected a zip of images", field=_FIELD)
        return Received("images", ())


class _Form:
    """The file is a field of a form."""

    def __init__(self, boundary: bytes) -> None:
        callbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._opened,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._complete,
        }
        self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        self._file: BinaryIO | None = None
        self._fields: list[tuple[str, str]] = []
        self._archive: str | None = None
        self._bytes = 0
        self._whole = False

    def write(self, data: bytes, file: BinaryIO) -> None:
        self._file = file
        self._parser.write(data)

    def received(self) -> Received:
        if not self._whole:
            raise ApiError(400, "bad_multipart", "multipart body: it ends before its last boundary")
        if self._archive is None:
            raise ApiError(400, "missing_archive", f"images: missing; {_WANTED}", field=_FIELD)
        if not self._bytes:
            raise ApiError(400, "empty_archive", "images: 0 bytes; expected a zip of images", field=_FIELD)
        return Received(self._archive, tuple(self._fields))

    def _begin(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._header, self._value, self._text = b"", b"", b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _opened(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = b"filename" in options
        if self._is_file:
            if self._name != _FIELD:
                raise ApiError(422, "unknown_field", f"file field '{self._name[:40]}': expected the zip in a field named '{_FIELD}'", field=self._name[:40])
            if self._archive is not None:
                raise ApiError(422, "unknown_field", f"{_FIELD}: given more than once; expected one zip", field=_FIELD)
            self._archive = _stem(options[b"filename"].decode("utf-8", "replace"))
        elif self._name == _FIELD:
            raise ApiError(422, "not_a_file", f"{_FIELD}: a text field; expected a file (with curl: -F images=@photos.zip)", field=_FIELD)
        elif len(self._fields) >= _FIELDS:
            raise ApiError(400, "bad_multipart", f"multipart body: more than {_FIELDS} fields")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            assert self._file is not None
            self._bytes += end - start
            self._file.write(data[start:end])
        else:
            self._text += data[start:end]
            if len(self._text) > _FIELD_BYTES:
                raise ApiError(400, "bad_multipart", f"multipart body: a field of more than {_FIELD_BYTES} bytes")

    def _end(self) -> None:
        if not self._is_file:
            self._fields.append((self._name, self._text.decode("utf-8", "replace")))

    def _complete(self) -> None:
        self._whole = True


def _stem(filename: str) -> str:
    """``photos of May.zip`` as ``photos-of-May``."""
    name = filename.replace("\\", "/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name.rpartition(".")[0] or name).strip("-")[:40] or "images"
