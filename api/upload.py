"""Reads the image of a request: a multipart file field, or the raw bytes. Nothing a client names touches the disk."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from api.body import ENVELOPE
from api.errors import ApiError
from stego_app.images import ImageError, TooManyPixelsError, image_size

_MAX_FIELDS = 16
_WANTED = "send multipart/form-data with a file field 'image', or the image's bytes with a Content-Type of image/*"


@dataclass(frozen=True)
class Upload:
    """The bytes of an image file and the form fields beside it."""

    image: bytes
    fields: tuple[tuple[str, str], ...]


async def read_upload(request: Request, max_bytes: int) -> Upload:
    """The image and form fields of ``request``.

    Raises:
        ApiError: 415 for another content type, 400 for a malformed or empty body, 413 for a file above ``max_bytes``.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise ApiError(415, "unsupported_encoding", f"Content-Encoding '{encoding[:40]}': expected none; images are compressed already")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        upload = await _read_multipart(request, max_bytes)
    elif media_type.startswith("image/") or media_type == "application/octet-stream":
        upload = Upload(await request.body(), ())
    else:
        got = f"Content-Type '{media_type[:60]}'" if media_type else "no Content-Type"
        raise ApiError(415, "unsupported_media_type", f"{got}: {_WANTED}")
    if not upload.image:
        raise ApiError(400, "empty_image", "image: 0 bytes; expected an image file", field="image")
    if len(upload.image) > max_bytes:
        raise ApiError(413, "too_large", f"image: {len(upload.image):,} bytes; at most {max_bytes:,} are allowed", field="image")
    return upload


def check_header(image: bytes, max_pixels: int) -> None:
    """Refuse what is not an image, or too large a one, by its header alone; no pixel is decoded.

    Raises:
        ApiError: 415 for what is not an image, 413 for more than ``max_pixels``.
    """
    try:
        image_size(image, "image", max_pixels)
    except TooManyPixelsError as error:
        raise ApiError(413, "too_many_pixels", str(error), field="image") from error
    except ImageError as error:
        raise ApiError(415, "not_an_image", "image: not an image of a supported kind; expected JPEG, PNG, WebP, TIFF, BMP or GIF", field="image") from error


class _InMemoryParser(MultiPartParser):
    """Starlette's parser without its spooling to temporary files: `BodyLimit` bounds what it can hold."""

    spool_max_size = 2**62


async def _read_multipart(request: Request, max_bytes: int) -> Upload:
    parser = _InMemoryParser(request.headers, request.stream(), max_files=1, max_fields=_MAX_FIELDS, max_part_size=ENVELOPE)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise ApiError(400, "bad_multipart", f"multipart body: {error.message}") from error
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
