"""Label Studio's paths: at the root for the default model, and under ``/label-studio/NAME`` for another; ``/health`` is the service's own."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.context import CLIENT_LEFT
from api.dialects import label_studio
from api.dialects.label_studio_schemas import Predictions, PredictRequest, Setup, SetupRequest, WebhookAnswer, WebhookEvent
from api.inference import Inference
from api.openapi import errors, json_body
from api.schemas import ModelReady
from api.worker import ClientLeftError

_FAILURES = errors(400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 502, 503, 504)


def label_studio_router(inference: Inference) -> APIRouter:
    """The routes, bound to what they work with."""
    router = APIRouter(tags=["label studio"], responses=_FAILURES)

    @router.post("/setup", summary="Label Studio: connect", openapi_extra=json_body(SetupRequest))
    async def setup(request: Request) -> Setup:
        """Checks the labelling interface and tells the default model's version."""
        return await label_studio.setup(inference, request, None)

    @router.post("/predict", summary="Label Studio: predict", response_model=Predictions, openapi_extra=json_body(PredictRequest))
    async def predict(request: Request) -> Response:
        """Brushes for each task: one a class whose name is a label of the interface or, with a keypoint as context, the piece that was clicked."""
        return await _predict(request, None)

    @router.post("/webhook", summary="Label Studio: an event", openapi_extra=json_body(WebhookEvent))
    async def webhook(request: Request) -> WebhookAnswer:
        """Told of annotations; nothing is learnt from them, since classes are found without labels."""
        return await label_studio.webhook(inference, request, None)

    @router.get("/label-studio/{model}/health", summary="Label Studio: is a model there?")
    async def health_of_model(model: str) -> ModelReady:
        """200 for every model that is offered."""
        name, _ = await inference.model(model)
        return ModelReady(name=name, ready=True)

    @router.post("/label-studio/{model}/setup", summary="Label Studio: connect to a model", openapi_extra=json_body(SetupRequest))
    async def setup_of_model(request: Request, model: str) -> Setup:
        """As `/setup`."""
        return await label_studio.setup(inference, request, model)

    @router.post("/label-studio/{model}/predict", summary="Label Studio: predict by it", response_model=Predictions, openapi_extra=json_body(PredictRequest))
    async def predict_of_model(request: Request, model: str) -> Response:
        """As `/predict`."""
        return await _predict(request, model)

    @router.post("/label-studio/{model}/webhook", summary="Label Studio: an event, for a model", openapi_extra=json_body(WebhookEvent))
    async def webhook_of_model(request: Request, model: str) -> WebhookAnswer:
        """As `/webhook`."""
        return await label_studio.webhook(inference, request, model)

    async def _predict(request: Request, model: str | None) -> Response:
        try:
            predictions = await label_studio.predict(inference, request, model)
        except ClientLeftError:
            return Response(status_code=CLIENT_LEFT)
        return Response(predictions.model_dump_json(exclude_none=True), media_type="application/json", headers={"Cache-Control": "no-store"})

    return router
