"""Reads the image of a request: a multipart file field, the raw bytes, or JSON. Nothing a client names touches the disk."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from api.body import ENVELOPE
from api.errors import ApiError
from api.json_body import decode_image, is_json, media_type_of, read_json_object
from stego_app.images import ImageError, TooManyPixelsError, image_size

Fetch = Callable[[str], Awaitable[bytes]]

_MAX_FIELDS = 16
_WANTED = "send multipart/form-data with a file field 'image', the image's bytes with a Content-Type of image/*, or JSON with the image in base64"


@dataclass(frozen=True)
class Upload:
    """The bytes of an image file and the options beside it: form fields, or members of the JSON object."""

    image: bytes
    fields: tuple[tuple[str, Any], ...]


async def read_upload(request: Request, max_bytes: int, fetch: Fetch) -> Upload:
    """The image and options of ``request``.

    Args:
        request: its body has not been read.
        max_bytes: largest image file.
        fetch: gives the image behind an address, or refuses.

    Raises:
        ApiError: 415 for another content type, 400 for a malformed or empty body, 413 for a file above ``max_bytes``,
            422 for JSON that is not as expected.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise ApiError(415, "unsupported_encoding", f"Content-Encoding '{encoding[:40]}': expected none; images are compressed already")
    media_type = media_type_of(request)
    if media_type == "multipart/form-data":
        upload = await _read_multipart(request, max_bytes)
    elif media_type.startswith("image/") or media_type == "application/octet-stream":
        upload = Upload(await request.body(), ())
    elif is_json(request):
        upload = await _from_json(await read_json_object(request), fetch)
    else:
        got = f"Content-Type '{media_type[:60]}'" if media_type else "no Content-Type"
        raise ApiError(415, "unsupported_media_type", f"{got}: {_WANTED}")
    check_bytes(upload.image, max_bytes)
    return upload


def check_bytes(image: bytes, max_bytes: int, field: str = "image") -> None:
    """Refuse an image file that is empty or too large.

    Raises:
        ApiError: 400 for no bytes, 413 for more than ``max_bytes``.
    """
    if not image:
        raise ApiError(400, "empty_image", f"{field}: 0 bytes; expected an image file", field=field)
    if len(image) > max_bytes:
        raise ApiError(413, "too_large", f"{field}: {len(image):,} bytes; at most {max_bytes:,} are allowed", field=field)


def check_header(image: bytes, max_pixels: int, field: str = "image") -> int:
    """Pixels of an image by its header alone; refuses what is not an image, or too large a one. Headers may be long: not for the event loop.

    Raises:
        ApiError: 415 for what is not an image, 413 for more than ``max_pixels``.
    """
    try:
        width, height = image_size(image, field, max_pixels)
    except TooManyPixelsError as error:
        raise ApiError(413, "too_many_pixels", str(error), field=field) from error
    except ImageError as error:
        raise ApiError(415, "not_an_image", f"{field}: not an image of a supported kind; expected JPEG, PNG, WebP, TIFF, BMP or GIF", field=field) from error
    return width * height


async def _from_json(document: dict[str, Any], fetch: Fetch) -> Upload:
    """``{"image": base64, …options}``, ``{"url": address, …options}``, or as the Hugging Face clients send it, ``{"inputs": base64, "parameters": {…}}``.

    Raises:
        ApiError: none or several of the three, or parameters that are not an object.
    """
    sources = [name for name in ("image", "url", "inputs") if name in document]
    if len(sources) != 1:
        raise ApiError(422, "missing_image", "expected exactly one of 'image' (base64), 'inputs' (base64) and 'url'", field="image")
    options = {name: value for name, value in document.items() if name != sources[0]}
    if sources == ["inputs"]:
        nested = options.pop("parameters", None) or {}
        if not isinstance(nested, dict):
            raise ApiError(422, "invalid_option", "parameters: expected an object", field="parameters")
        image = decode_image(document["inputs"], "inputs")
        return Upload(image, (*options.items(), *nested.items()))
    if sources == ["url"]:
        address = document["url"]
        if not isinstance(address, str):
            raise ApiError(422, "invalid_url", "url: expected a string", field="url")
        return Upload(await fetch(address), tuple(options.items()))
    return Upload(decode_image(document["image"], "image"), tuple(options.items()))


class _InMemoryParser(MultiPartParser):
    """Starlette's parser without its spooling to temporary files: `BodyLimit` bounds what it can hold."""

    spool_max_size = 2**62


async def _read_multipart(request: Request, max_bytes: int) -> Upload:
    parser = _InMemoryParser(request.headers, request.stream(), max_files=1, max_fields=_MAX_FIELDS, max_part_size=ENVELOPE)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise ApiError(400, "bad_multipart", f"multipart body: {error.message}") from error
    except UnicodeError as error:  # some of Python's encodings raise no UnicodeDecodeError, which alone is expected
        raise ApiError(400, "bad_multipart", "multipart body: names that cannot be read in the charset given; expected none, or UTF-8") from error
    try:
        image: bytes | None = None
        fields: list[tuple[str, str]] = []
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name != "image":
                    raise ApiError(422, "unknown_field", f"file field '{name[:40]}': expected the file in a field named 'image'", field=name[:40])
                image = await value.read(max_bytes + 1)
            elif name == "image":
                raise ApiError(422, "not_a_file", "image: a text field; expected a file (with curl: -F image=@photo.jpg)", field="image")
            else:
                fields.append((name, value))
    finally:
        await form.close()
    if image is None:
        raise ApiError(400, "missing_image", f"image: missing; {_WANTED}", field="image")
    return Upload(image, tuple(fields))
