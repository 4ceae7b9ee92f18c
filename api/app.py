"""Puts the service together: routes, limits, errors, and the page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from api.batching import Batcher
from api.body import BodyLimit, BodyRule, largest_json
from api.catalog import Catalog
from api.context import RequestContext
from api.description import describe_common_parts
from api.dialects.xanylabeling import XAnyLabelingPaths
from api.engine import Engine
from api.errors import install_error_handlers
from api.inference import Inference
from api.jobs.service import make_job_service
from api.metrics import Metrics
from api.pixels import PixelBudget
from api.routes.fit import fit_router
from api.routes.head import head_routes
from api.routes.health import health_router
from api.routes.inference_protocol import inference_protocol_router
from api.routes.jobs import jobs_router
from api.routes.label_studio import label_studio_router
from api.routes.metrics import metrics_router
from api.routes.models import models_router
from api.routes.segment import segment_router
from api.routes.unknown import unknown_router
from api.routes.xanylabeling import xanylabeling_router
from api.security.install import install_security
from api.served_models import load_catalog, model_folder
from api.settings import ServiceSettings
from api.stopping import Stopping
from api.worker import InferenceWorker
from models.errors import StegoError
from stego_app import __version__
from stego_app.crf import CrfPool
from stego_app.crf.pool import check_processes
from ui.contract import SegmenterLike

_IMAGE_PATHS = ("/v1/segment", "/predict", "/setup", "/webhook", "/label-studio", "/xanylabeling")
_TEXT_BYTES = 2_000_000  # of all other bodies: edits, words, the page's own events
_DESCRIPTION = "Unsupervised semantic segmentation: an image in, classes out that mean the same in every image."


def create_app(settings: ServiceSettings | None = None, segmenters: Mapping[str, SegmenterLike] | None = None) -> FastAPI:
    """The service as an ASGI application.

    Args:
        settings: limits and models; the defaults if None.
        segmenters: by name, the default one first; loaded from ``settings.models`` if None.

    Raises:
        StegoError: a model that cannot be loaded, or no processes can be started here.
    """
    settings = settings or ServiceSettings()
    catalog = load_catalog(settings) if segmenters is None else Catalog(segmenters, folder=model_folder(settings))
    jobs = make_job_service(settings, catalog)
    worker = InferenceWorker(concurrency=settings.concurrency, queue=settings.queue, timeout=settings.timeout)
    metrics = Metrics()
    engine = make_engine(settings, metrics)
    metrics.watch(queue=lambda: worker.pending, pixels=lambda: engine.budget.held)
    stopping = Stopping(worker, jobs, engine, settings.shutdown_grace)
    inference = Inference(settings, catalog, worker, engine, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(engine.warm_up, [catalog.get()])
        if jobs is not None:
            jobs.start()
        yield
        await stopping.finish()

    # The interactive pages of FastAPI load scripts from another host, so they are off; the description is served.
    app = FastAPI(title="stego", version=__version__, description=_DESCRIPTION, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.stopping = stopping
    install_error_handlers(app)
    known = list(app.routes)
    for router in (
        segment_router(inference),
        models_router(catalog),
        jobs_router(jobs),
        fit_router(jobs),
        health_router(catalog, worker),
        inference_protocol_router(catalog),
        metrics_router(metrics),
        label_studio_router(inference),
        xanylabeling_router(inference),
    ):
        router.routes.extend(head_routes(router.routes))
        app.include_router(router)
        known += router.routes
    app.include_router(unknown_router(known))
    describe_common_parts(app)
    if settings.ui:
        from api.page import mount_page  # Gradio takes seconds to import

        mount_page(app, settings, catalog, worker)
    # The layers, from the inside: the one added last is met first.
    most = (settings.concurrency + settings.queue) * largest_json(max(settings.max_bytes, _TEXT_BYTES))
    app.add_middleware(BodyLimit, rule=BodyRule(_TEXT_BYTES, settings.upload_timeout, field="body"), rules=_body_rules(settings), most=most)
    install_security(app, settings)
    app.add_middleware(XAnyLabelingPaths)
    app.add_middleware(RequestContext, stopping=stopping.begun, answered=metrics.answered)
    return app


def _body_rules(settings: ServiceSettings) -> dict[str, BodyRule]:
    """What a body may be where images are sent."""
    image = BodyRule(settings.max_bytes, settings.upload_timeout)
    archive = BodyRule(settings.jobs.archive_bytes, settings.jobs.archive_timeout, field="images", held=False)
    # The page sends the photos of a folder together; Gradio, which writes them to disk as they come, holds each to `max_bytes`.
    return {**dict.fromkeys(_IMAGE_PATHS, image), "/v1/jobs": archive, "/v1/fit": archive, "/gradio_api/upload": replace(archive, field="files")}


def make_engine(settings: ServiceSettings, metrics: Metrics) -> Engine:
    """The engine that ``settings`` ask for; its thread and processes start when they are first needed.

    Raises:
        StegoError: no processes can be started here.
    """
    if settings.crf_workers != 0:
        try:
            check_processes()
        except StegoError as error:
            raise StegoError(f"{error}, or --crf-workers 0") from error
    batcher = Batcher(most=settings.batch, window=settings.batch_window, observe=metrics.batch.observe)
    pool = None if settings.crf_workers == 0 else CrfPool(settings.crf_workers)
    return Engine(batcher, pool, PixelBudget(settings.max_pixels))
