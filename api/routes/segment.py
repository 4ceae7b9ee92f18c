"""``POST /v1/segment``: an image in; a summary, a picture or masks out."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.context import CLIENT_LEFT
from api.errors import ApiError
from api.forms import write_form
from api.inference import Inference
from api.negotiation import OFFERS, Form, choose
from api.openapi import segment_operation, segment_responses
from api.options import SegmentOptions, parse_options
from api.schemas import Timing
from api.segmenting import Segmented
from api.upload import read_upload
from api.worker import ClientLeftError

_SUFFIX: dict[Form, str] = {"index": "index.png", "overlay": "overlay.png"}


def segment_router(inference: Inference) -> APIRouter:
    """The route, bound to what it works with."""
    router = APIRouter(tags=["segment"])

    @router.post("/v1/segment", summary="Segment one image", responses=segment_responses(), openapi_extra=segment_operation())
    async def post_segment(request: Request) -> Response:
        """Segment one image into classes that mean the same in every image.

        Send the image as the multipart field `image`, raw with a `Content-Type` of `image/*`, or in JSON as base64;
        options in the query, as form fields, or beside the image in JSON. The form of the answer is chosen by `format`
        or by `Accept`: `application/json` (the summary), `image/png` (index PNG with palette),
        `image/vnd.stego.overlay+png` (overlay), `application/vnd.stego.coco+json` (COCO run-length masks),
        `application/vnd.stego.hf+json` (the list of the Hugging Face `image-segmentation` task).
        """
        upload = await read_upload(request, inference.settings.max_bytes, inference.fetch)
        options = parse_options(SegmentOptions, request.query_params.multi_items(), upload.fields)
        answer = choose(", ".join(request.headers.getlist("accept")), options.format)
        if answer is None:
            raise ApiError(406, "not_acceptable", f"Accept: expected one of {', '.join(offer for _, offer in OFFERS)}")
        job = await inference.job(upload.image, options)

        def written(result: Segmented) -> tuple[bytes, Timing]:
            return write_form(job, result, answer.form), result.timing

        try:
            body, timing = await inference.run(job, written, request)
        except ClientLeftError:
            return Response(status_code=CLIENT_LEFT)
        headers = {
            "Cache-Control": "no-store",
            "Vary": "Accept",
            "Server-Timing": f"queue;dur={timing.queue}, decode;dur={timing.decode}, segment;dur={timing.segment}",
        }
        if answer.form in _SUFFIX:
            headers["Content-Disposition"] = f'inline; filename="{_SUFFIX[answer.form]}"'
        return Response(body, media_type=answer.media_type, headers=headers)

    return router
