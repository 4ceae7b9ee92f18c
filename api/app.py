"""Puts the service together: routes, limits, errors, and the page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api.body import BodyLimit
from api.catalog import Catalog, load_catalog
from api.context import RequestContext
from api.errors import install_error_handlers
from api.routes.health import health_router
from api.routes.models import models_router
from api.routes.segment import segment_router
from api.routes.unknown import unknown_router
from api.settings import ServiceSettings
from api.worker import InferenceWorker
from stego_app import __version__
from ui.contract import SegmenterLike

_DESCRIPTION = "Unsupervised semantic segmentation: an image in, classes out that mean the same in every image."


def create_app(settings: ServiceSettings | None = None, segmenters: Mapping[str, SegmenterLike] | None = None) -> FastAPI:
    """The service as an ASGI application.

    Args:
        settings: limits and models; the defaults if None.
        segmenters: by name, the default one first; loaded from ``settings.models`` if None.

    Raises:
        StegoError: a model that cannot be loaded.
    """
    settings = settings or ServiceSettings()
    catalog = load_catalog(settings) if segmenters is None else Catalog(segmenters)
    worker = InferenceWorker(concurrency=settings.concurrency, queue=settings.queue, timeout=settings.timeout)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        worker.close()

    # The interactive pages of FastAPI load scripts from another host, so they are off; the description is served.
    app = FastAPI(title="stego", version=__version__, description=_DESCRIPTION, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.stopping = asyncio.Event()
    install_error_handlers(app)
    known = list(app.routes)
    for router in (segment_router(settings, catalog, worker), models_router(catalog), health_router(catalog, worker)):
        app.include_router(router)
        known += router.routes
    app.include_router(unknown_router(known))
    if settings.ui:
        from api.page import mount_page  # Gradio takes seconds to import

        mount_page(app, settings, catalog, worker)
    app.add_middleware(BodyLimit, max_bytes=settings.max_bytes, seconds=settings.upload_timeout)
    app.add_middleware(RequestContext, stopping=app.state.stopping)
    return app
