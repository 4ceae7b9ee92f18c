"""``POST /v1/fit``: a zip of images becomes a new model."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.jobs.describe import archive_operation
from api.jobs.options import FitOptions
from api.jobs.service import JobService
from api.openapi import errors
from api.routes.jobs import ACCEPTED, take_archive

_REFUSED = errors(400, 404, 408, 409, 413, 415, 422, 500, 503, 507)


def fit_router(service: JobService | None) -> APIRouter:
    """The route, bound to the jobs of this server; None to answer that it takes none."""
    router = APIRouter(tags=["models"])
    body = archive_operation(FitOptions, {"name": "streets", "method": "cluster"})

    @router.post(
        "/v1/fit",
        status_code=202,
        summary="Make a model of a zip of images",
        responses={**ACCEPTED, **_REFUSED},
        openapi_extra=body,
    )
    async def post_fit(request: Request) -> Response:
        """Find the classes that recur in the images of a zip, as a job. No labels are needed.

        Once the job is done there is a new model of the `name` given, at `/v1/models/{name}` and for `model=` elsewhere;
        the job's result holds its file, and after `method=train` the report.
        """
        return await take_archive(request, service, FitOptions, JobService.fit)

    return router
