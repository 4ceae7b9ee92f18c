"""X-AnyLabeling's paths: models and their controls, and an image in, polygons out."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from api.context import CLIENT_LEFT
from api.dialects.polygons import polygon_shapes
from api.dialects.xanylabeling import PREFIX, Failed, Healthy, Listed, Predicted, PredictRequest, Shapes, described
from api.errors import ApiError, error_body
from api.inference import Inference
from api.json_body import decode_image, read_json_object, validated
from api.openapi import json_body, meanings
from api.options import SegmentOptions
from api.segmenting import Segmented
from api.worker import ClientLeftError

_FAILURES = meanings(Failed, 400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503, 504)


class _Route(APIRoute):
    """A route whose errors have this interface's form."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handler(request)
            except ApiError as error:
                ours = error_body(error.code, str(error.detail), field=error.field)["error"]
                body = {"success": False, "error": {"code": ours["code"].upper(), "message": ours["message"], "details": {"field": ours["field"]}}}
                return JSONResponse(body, error.status_code, {**(error.headers or {}), "Cache-Control": "no-store"})

        return handled


def xanylabeling_router(inference: Inference) -> APIRouter:
    """The routes, bound to what they work with."""
    router = APIRouter(prefix=PREFIX, tags=["x-anylabeling"], route_class=_Route, responses=_FAILURES)

    @router.get("/health", summary="X-AnyLabeling: is the service there?")
    def health() -> Healthy:
        """How many models are offered, and the time."""
        return Healthy(status="healthy", models_loaded=len(inference.catalog.names()), timestamp=datetime.now(UTC).isoformat().replace("+00:00", "Z"))

    @router.get("/v1/models", summary="X-AnyLabeling: models")
    def models() -> Listed:
        """All models, the default one first."""
        return Listed(data={name: described(name, facts.classes) for name, facts in inference.catalog.all_facts().items()})

    @router.get("/v1/models/{name}/info", summary="X-AnyLabeling: a model")
    async def model_info(name: str) -> Listed:
        """One model and its controls."""
        found, segmenter = await inference.model(name, "name")
        return Listed(data={"model_id": found, **described(found, segmenter.default_classes)})

    @router.post("/v1/predict", summary="X-AnyLabeling: polygons of an image", response_model=Predicted, openapi_extra=json_body(PredictRequest))
    async def predict(request: Request) -> Response:
        """A polygon for each connected piece of each class."""
        asked = validated(PredictRequest, await read_json_object(request))
        job = await inference.job(decode_image(asked.image, "image"), SegmentOptions(model=asked.model[:64]))

        def use(result: Segmented) -> bytes:
            shapes = polygon_shapes(result, fineness=asked.params.epsilon_factor, least_score=asked.params.conf_threshold)
            return Predicted(data=Shapes.model_validate({"shapes": shapes})).model_dump_json().encode()

        try:
            body = await inference.run(job, use, request)
        except ClientLeftError:
            return Response(status_code=CLIENT_LEFT)
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    return router
