"""``POST /v1/segment``: an image in; a summary, an index PNG or an overlay out."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request, Response

from api.catalog import Catalog, UnknownModelError
from api.errors import ApiError
from api.negotiation import OFFERS, choose
from api.openapi import segment_operation, segment_responses
from api.options import parse_options
from api.segmenting import Job, Result, segment
from api.settings import ServiceSettings
from api.upload import check_header, read_upload
from api.worker import BusyError, ClientLeftError, InferenceWorker, TooSlowError
from models.errors import StegoError
from stego_app.images import ImageError
from ui.contract import SegmenterLike

_CLIENT_LEFT = 499


def segment_router(settings: ServiceSettings, catalog: Catalog, worker: InferenceWorker) -> APIRouter:
    """The route, bound to what it works with."""
    router = APIRouter(tags=["segment"])

    @router.post("/v1/segment", summary="Segment one image", responses=segment_responses(), openapi_extra=segment_operation())
    async def post_segment(request: Request) -> Response:
        """Segment one image into classes that mean the same in every image.

        Send the image as the multipart field `image`, or raw with a `Content-Type` of `image/*`; options in the
        query or as form fields. The form of the answer is chosen by `format` or by `Accept`: `application/json`
        (the summary), `image/png` (index PNG with palette), `image/vnd.stego.overlay+png` (overlay).
        """
        upload = await read_upload(request, settings.max_bytes)
        options = parse_options(request.query_params.multi_items(), upload.fields)
        answer = choose(", ".join(request.headers.getlist("accept")), options.format)
        if answer is None:
            raise ApiError(406, "not_acceptable", f"Accept: expected one of {', '.join(offer for _, offer in OFFERS)}")
        name = options.model or catalog.default
        segmenter = _segmenter(catalog, name)
        if options.classes is not None and options.classes > segmenter.max_classes:
            message = f"classes: {options.classes} is more than this model's {segmenter.max_classes}; expected 1 to {segmenter.max_classes}"
            raise ApiError(422, "invalid_option", message, field="classes")
        check_header(upload.image, settings.max_pixels)
        job = Job(upload.image, segmenter, name, options, answer, settings.max_pixels, time.perf_counter())
        try:
            result = await _run(worker, job, request)
        except ClientLeftError:
            return Response(status_code=_CLIENT_LEFT)
        timing = result.timing
        headers = {
            "Cache-Control": "no-store",
            "Vary": "Accept",
            "Server-Timing": f"queue;dur={timing.queue}, decode;dur={timing.decode}, segment;dur={timing.segment}",
        }
        if answer.form != "json":
            headers["Content-Disposition"] = f'inline; filename="{answer.form}.png"'
        return Response(result.body, media_type=answer.media_type, headers=headers)

    return router


def _segmenter(catalog: Catalog, name: str) -> SegmenterLike:
    try:
        return catalog.get(name)
    except UnknownModelError as error:
        raise ApiError(404, "unknown_model", str(error), field="model") from error


async def _run(worker: InferenceWorker, job: Job, request: Request) -> Result:
    """The job's result, with what may go wrong as the status a client understands."""
    try:
        return await worker.run(lambda: segment(job), client_left=request.is_disconnected)
    except BusyError as error:
        raise ApiError(503, "busy", str(error), headers={"Retry-After": str(error.retry_after)}) from error
    except TooSlowError as error:
        raise ApiError(504, "timeout", str(error)) from error
    except ImageError as error:
        raise ApiError(422, "unreadable_image", str(error), field="image") from error
    except StegoError as error:
        raise ApiError(422, "invalid_request", str(error)) from error
