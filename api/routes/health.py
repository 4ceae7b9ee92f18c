"""Health: is the process alive, and does it take work? Paths of the Open Inference Protocol, and a short one."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.catalog import Catalog
from api.schemas import Alive, Health
from api.worker import InferenceWorker


def health_router(catalog: Catalog, worker: InferenceWorker) -> APIRouter:
    """The routes, bound to what they report on."""
    router = APIRouter(tags=["health"])

    @router.get("/v2/health/live", summary="Is the process alive?")
    async def live() -> Alive:
        """200 as long as the process answers at all."""
        return Alive(status="live")

    @router.get("/v2/health/ready", summary="Does the service take work?", responses={503: {"model": Health, "description": "Shutting down."}})
    async def ready(response: Response) -> Health:
        """200 when models are loaded and images are taken, 503 while the service shuts down."""
        if not worker.accepting:
            response.status_code = 503
        return Health(status="ready" if worker.accepting else "shutting down", models=catalog.names(), pending=worker.pending)

    @router.get("/health", summary="The same as ready", responses={503: {"model": Health, "description": "Shutting down."}})
    async def health(response: Response) -> Health:
        """For load balancers and container health checks."""
        return await ready(response)

    return router
