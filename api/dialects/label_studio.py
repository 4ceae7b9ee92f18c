"""The work of a machine-learning backend of Label Studio, after the public description of its requests (labelstud.io/guide/ml)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.dialects.brushes import Click, class_regions, clicked_regions, mean_score
from api.dialects.label_config import Brush, LabelConfigError, parse_label_config
from api.dialects.label_studio_schemas import Prediction, Predictions, PredictRequest, Setup, SetupRequest, Task, WebhookAnswer, WebhookEvent
from api.errors import ApiError
from api.inference import Inference
from api.json_body import decode_image, read_json_object, validated
from api.options import SegmentOptions
from api.segmenting import Segmented
from ui.contract import SegmenterLike

log = logging.getLogger("stego.label_studio")

_AT_ONCE = 4  # tasks of one request: the service's queue belongs to all
_NOT_THE_TASKS_FAULT = frozenset({403, 429, 503, 504})


async def setup(inference: Inference, request: Request, model: str | None) -> Setup:
    """Check the labelling interface and tell the model's version.

    Raises:
        ApiError: a body that is not as expected, an interface without a brush, or no such model.
    """
    asked = validated(SetupRequest, await read_json_object(request))
    name, segmenter = await inference.model(model)
    _brush(asked.schema_)
    return Setup(model_version=await run_in_threadpool(_version, name, segmenter))


async def predict(inference: Inference, request: Request, model: str | None) -> Predictions:
    """Brushes for each task. A task that fails gets an empty result with the reason beside it, unless all fail.

    Raises:
        ApiError: as `setup`; where no task could be done, the reason of the first; where the service is busy or may not fetch, that.
        ClientLeftError: the client has left.
    """
    asked = validated(PredictRequest, await read_json_object(request))
    name, segmenter = await inference.model(model)
    version = await run_in_threadpool(_version, name, segmenter)
    work = _Work(inference, request, name, _brush(asked.label_config), version, _clicks(asked.params))
    outcomes = await work.all(asked.tasks)
    failures = [outcome for outcome in outcomes if isinstance(outcome, ApiError)]
    if failures and len(failures) == len(outcomes):
        raise failures[0]
    return Predictions(results=[work.failed(outcome) if isinstance(outcome, ApiError) else outcome for outcome in outcomes])


async def webhook(inference: Inference, request: Request, model: str | None) -> WebhookAnswer:
    """Take note of an event. Nothing is learnt from annotations: classes are found without labels.

    Raises:
        ApiError: a body that is not as expected, or no such model.
    """
    event = validated(WebhookEvent, await read_json_object(request))
    await inference.model(model)
    return WebhookAnswer(status="ignored", action=event.action)


@dataclass(frozen=True)
class _Work:
    """The tasks of one request."""

    inference: Inference
    request: Request
    model: str
    brush: Brush
    version: str
    clicks: tuple[Click, ...] | None

    async def all(self, tasks: list[Task]) -> list[Prediction | ApiError]:
        turn = asyncio.Semaphore(_AT_ONCE)

        async def one(task: Task) -> Prediction | ApiError:
            async with turn:
                try:
                    return await self._predict(task)
                except ApiError as error:
                    if error.status_code in _NOT_THE_TASKS_FAULT:
                        raise
                    shown = "" if task.id is None else f"task {str(task.id)[:40]}: "
                    return ApiError(error.status_code, error.code, shown + str(error.detail), field=error.field)

        running = [asyncio.ensure_future(one(task)) for task in tasks]
        try:
            return await asyncio.gather(*running)
        finally:
            for other in running:  # the first failure that is everyone's ends the rest
                other.cancel()

    def failed(self, error: ApiError) -> Prediction:
        log.warning("no prediction: %s", error.detail)
        return Prediction(result=[], model_version=self.version, error=str(error.detail))

    async def _predict(self, task: Task) -> Prediction:
        image = await self._image(task)
        job = await self.inference.job(image, SegmentOptions(model=self.model), field=self.brush.key)
        return await self.inference.run(job, self._prediction, self.request)

    def _prediction(self, result: Segmented) -> Prediction:
        if self.clicks is not None:
            clicked = clicked_regions(result, self.brush, self.clicks)
            return Prediction(result=clicked, score=mean_score(clicked), model_version=self.version)
        regions, left_out = class_regions(result, self.brush)
        return Prediction(result=regions, score=mean_score(regions), model_version=self.version, left_out=left_out or None)

    async def _image(self, task: Task) -> bytes:
        """The task's image: in the task itself, from Label Studio, or from elsewhere.

        Raises:
            ApiError: the task has none, or it cannot be had.
        """
        address = task.data.get(self.brush.key)
        if not isinstance(address, str) or not address:
            raise ApiError(422, "missing_image", f"data.{self.brush.key}: expected the image's address, or the image as a data: URI", field=self.brush.key)
        if address.startswith("data:"):
            return decode_image(address, self.brush.key)
        return await self.inference.fetch(address)


def _version(name: str, segmenter: SegmenterLike) -> str:
    return f"{name}@{segmenter.info().get('fingerprint', 'unversioned')}"


def _brush(text: str) -> Brush:
    try:
        return parse_label_config(text)
    except LabelConfigError as error:
        raise ApiError(422, "bad_label_config", str(error), field="label_config") from error


def _clicks(params: Mapping[str, Any] | None) -> tuple[Click, ...] | None:
    """The keypoints of the context that Label Studio sends as one is set, less those that say where the thing is not; None where none was set.

    Positions are in per cent.

    Raises:
        ApiError: a context of another form.
    """
    context = (params or {}).get("context")
    results = context.get("result") if isinstance(context, dict) else None
    if not results:
        return None
    try:
        return tuple(_click(entry) for entry in results if entry.get("is_positive", 1))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ApiError(422, "bad_context", "params.context.result: expected keypoints with a label, as keypointlabels", field="params") from error


def _click(entry: Mapping[str, Any]) -> Click:
    value = entry["value"]
    x, y, label = float(value["x"]) / 100, float(value["y"]) / 100, value["keypointlabels"][0]
    if not (0 <= x <= 1 and 0 <= y <= 1 and isinstance(label, str)):
        raise ValueError
    return Click(x, y, label)
