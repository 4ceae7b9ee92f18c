"""``GET /metrics`` for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.metrics import CONTENT_TYPE, Metrics
from api.openapi import errors

_EXAMPLE = 'stego_requests_total{method="POST",route="/v1/segment",status="200"} 12.0\n'


def metrics_router(metrics: Metrics) -> APIRouter:
    """The route, bound to the numbers."""
    router = APIRouter(tags=["metrics"])
    described = {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE}}}

    @router.get("/metrics", summary="Numbers for Prometheus", response_class=Response, responses={200: described, **errors(401, 403, 429)})
    async def get_metrics() -> Response:
        """Requests, latencies, batch sizes, queue depth, images and rejections."""
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})

    return router
