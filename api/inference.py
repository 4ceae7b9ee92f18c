"""What every route that segments goes through: the model by name, the queue, the engine, and errors as a client understands them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.catalog import Catalog, UnknownModelError
from api.engine import Engine
from api.errors import ApiError
from api.metrics import Metrics
from api.options import SegmentOptions
from api.security.fetch import Fetcher, FetchError
from api.segmenting import Job, Segmented, segment
from api.settings import ServiceSettings
from api.upload import check_bytes, check_header
from api.worker import BusyError, InferenceWorker, TooSlowError
from models.errors import StegoError
from stego_app.crf.pool import WorkerLostError
from stego_app.images import ImageError
from ui.contract import SegmenterLike

T = TypeVar("T")


class Inference:
    """Takes images of requests and segments them within the service's limits."""

    def __init__(self, settings: ServiceSettings, catalog: Catalog, worker: InferenceWorker, engine: Engine, metrics: Metrics) -> None:
        self.settings = settings
        self.catalog = catalog
        self._worker = worker
        self._engine = engine
        self._metrics = metrics
        self._fetcher = Fetcher(settings)

    async def model(self, name: str | None, field: str = "model") -> tuple[str, SegmenterLike]:
        """Name and segmenter of the model asked for, or of the default one.

        Raises:
            ApiError: 404 for a name that is not offered.
        """
        try:
            # In a thread, since a model that is new or has changed is read from its file.
            return name or self.catalog.default, await run_in_threadpool(self.catalog.get, name)
        except UnknownModelError as error:
            raise ApiError(404, "unknown_model", str(error), field=field) from error

    async def job(self, image: bytes, options: SegmentOptions, *, field: str = "image") -> Job:
        """A job for one image, checked as far as that can be done without decoding it.

        Raises:
            ApiError: no such model, more classes than it has, no image, or one that is too large.
        """
        name, segmenter = await self.model(options.model)
        if options.classes is not None and options.classes > segmenter.max_classes:
            message = f"classes: {options.classes} is more than this model's {segmenter.max_classes}; expected 1 to {segmenter.max_classes}"
            raise ApiError(422, "invalid_option", message, field="classes")
        check_bytes(image, self.settings.max_bytes, field)
        pixels = await run_in_threadpool(check_header, image, self.settings.max_pixels, field)
        return Job(image, pixels, segmenter, name, options, self.settings.max_pixels, time.perf_counter())

    async def run(self, job: Job, use: Callable[[Segmented], T], request: Request) -> T:
        """``use`` of the segmented image, called in a worker thread.

        Raises:
            ApiError: 503 where the queue is full, 504 where it takes too long, 422 for an image that cannot be read.
            ClientLeftError: the client has left.
        """

        def work() -> T:
            with self._engine.budget.hold(job.pixels):
                result = use(segment(job, self._engine))
            self._metrics.images.labels(model=job.model).inc()
            return result

        try:
            return await self._worker.run(work, client_left=request.is_disconnected)
        except BusyError as error:
            raise ApiError(503, "busy", str(error), headers={"Retry-After": str(error.retry_after)}) from error
        except TooSlowError as error:
            raise ApiError(504, "timeout", str(error)) from error
        except WorkerLostError as error:
            raise ApiError(503, "worker_lost", str(error), headers={"Retry-After": str(self._worker.retry_after())}) from error
        except ImageError as error:
            raise ApiError(422, "unreadable_image", str(error), field="image") from error
        except StegoError as error:
            raise ApiError(422, "invalid_request", str(error)) from error

    async def fetch(self, address: str) -> bytes:
        """The image behind ``address``, if fetching from there is allowed; a path alone is one of the operator's Label Studio.

        Raises:
            ApiError: 403 where it is not, 422 where the address is none, 413 for too large a file, 502 where it cannot be had.
        """
        try:
            fetch = self._fetcher.from_label_studio if address.startswith("/") else self._fetcher.fetch
            return await run_in_threadpool(fetch, address)
        except FetchError as error:
            raise ApiError(error.status, error.code, str(error), field="url") from error
