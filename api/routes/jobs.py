"""``/v1/jobs``: work on a zip of images that goes on after its request, and after the service is started again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.errors import ApiError
from api.jobs.answers import answering, drain, need
from api.jobs.describe import archive_operation
from api.jobs.download import ResultFile
from api.jobs.options import LabelOptions
from api.jobs.receiving import receive_archive
from api.jobs.service import JobService
from api.jobs.store import Job, State
from api.openapi import errors
from api.options import parse_options
from api.routes.query import known_query
from api.schemas_jobs import JobFailure, JobList, JobProgress, JobStatus

_SHOWN_FAILURES = 100
_CLIENT_LEFT = 499
ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "model": JobStatus,
        "description": "Accepted; `Location` is where to ask.",
        "headers": {"Location": {"description": "Path of the job.", "schema": {"type": "string"}}},
    }
}
_REFUSED = errors(400, 404, 408, 409, 413, 415, 422, 500, 503, 507)
_KEPT = errors(404, 500, 503, 507)


def jobs_router(service: JobService | None) -> APIRouter:
    """The routes, bound to the jobs of this server; None to answer that it takes none."""
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
    body = archive_operation(LabelOptions, {"classes": 12, "overlays": True})

    @router.post("", status_code=202, summary="Label a zip of images", responses={**ACCEPTED, **_REFUSED}, openapi_extra=body)
    async def post_job(request: Request) -> Response:
        """Label every image of a zip. The answer comes at once; ask `Location` for progress, and fetch the result once the job is done.

        Send the zip as the multipart field `images`, or raw as `application/zip`; options in the query or as form
        fields. Sub-folders are kept. The result is a zip of label maps, overlays, class table, and failures.
        """
        return await take_archive(request, service, LabelOptions, JobService.label)

    @router.get("", summary="List the jobs", responses=errors(404, 422, 500, 503, 507), dependencies=[Depends(known_query)])
    def list_jobs(
        request: Request,
        state: Annotated[State | None, Query(description="Only jobs in this state.")] = None,
        limit: Annotated[int, Query(ge=1, le=200, description="How many at most.")] = 50,
        before: Annotated[str | None, Query(max_length=32, description="Only jobs older than the one with this id.")] = None,
    ) -> JobList:
        """Jobs, the newest first: those sent with the same API key, or all of them for a key that may do everything."""
        with answering():
            jobs = need(service)
            viewer = viewer_of(request)
            rows = jobs.store.latest(limit + 1, state=state, before=jobs.find(before, viewer).number if before else None, owner=viewer)
            listed = [job_status(jobs, job) for job in rows[:limit]]
        return JobList(jobs=listed, before=listed[-1].id if len(rows) > limit else None)

    @router.get("/{id}", summary="Tell of a job", responses=_KEPT)
    def get_job(id: str, request: Request, response: Response) -> JobStatus:
        """State, progress with rate and time left, and failures."""
        response.headers["Cache-Control"] = "no-store"
        with answering():
            jobs = need(service)
            return job_status(jobs, jobs.find(id, viewer_of(request)))

    removed = {"model": JobStatus, "description": "It is cancelled, or will be in a moment."}
    gone = {"description": "It was over; it was removed, with its result."}

    @router.delete("/{id}", status_code=202, summary="Cancel or remove a job", responses={202: removed, 204: gone, **_KEPT})
    def delete_job(id: str, request: Request) -> Response:
        """Cancel a job that waits or is worked on (its files are removed); remove one that is over."""
        with answering():
            jobs = need(service)
            if jobs.cancel(id, viewer_of(request)) is None:
                return Response(status_code=204)
            return Response(job_status(jobs, jobs.find(id)).model_dump_json(), 202, media_type="application/json")

    archive = {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}, "description": "The result."}

    @router.get(
        "/{id}/result",
        summary="Download a job's result",
        response_class=ResultFile,
        responses={200: archive, 206: {**archive, "description": "The part asked for by `Range`."}, **errors(400, 404, 409, 416, 500, 503, 507)},
    )
    def get_result(id: str, request: Request) -> ResultFile:
        """The result as a zip, in one piece or by ranges."""
        with answering():
            jobs = need(service)
            path = jobs.result(id, viewer_of(request))
            job = jobs.find(id)
        name = f"{job.options.get('archive') or 'images'}-{'labels' if job.kind == 'label' else job.model}.zip"
        return ResultFile(path, media_type="application/zip", filename=name, headers={"Cache-Control": "no-store"})

    return router


async def take_archive(
    request: Request, service: JobService | None, kind: type[BaseModel], submit: Callable[[JobService, Path, Mapping[str, Any], str], Job]
) -> Response:
    """Receive a zip with options of ``kind``, and answer with the job that ``submit`` makes of them.

    Raises:
        ApiError: whatever is wrong with the request, or with the disk of the service.
    """
    try:
        with answering():
            jobs = need(service)
            with jobs.incoming() as upload:
                received = await receive_archive(request, upload)
                options = parse_options(kind, request.query_params.multi_items(), received.fields).model_dump(exclude_none=True)
                job = await run_in_threadpool(submit, jobs, upload, {**options, "archive": received.name}, owner_of(request))
            status = await run_in_threadpool(job_status, jobs, job)
    except ClientDisconnect:
        return Response(status_code=_CLIENT_LEFT)
    except ApiError as error:
        # Whoever closes the connection has thrown away the rest of the body already.
        if (error.headers or {}).get("Connection") != "close":
            await drain(request)
        raise
    headers = {"Location": f"/v1/jobs/{job.id}", "Cache-Control": "no-store"}
    return Response(status.model_dump_json(), 202, media_type="application/json", headers=headers)


def owner_of(request: Request) -> str:
    """Name of the API key of ``request``; "" where none is asked for."""
    return str(getattr(request.state, "key", ""))


def viewer_of(request: Request) -> str | None:
    """Whose jobs may be seen: the key's own; None, all of them, for a key that may do everything or where none is asked for."""
    return None if getattr(request.state, "sees_all", True) else owner_of(request)


def job_status(jobs: JobService, job: Job) -> JobStatus:
    """What a client is told of ``job``."""
    over = job.state not in ("queued", "running")
    failures = jobs.store.failures(job.id, _SHOWN_FAILURES) if over and job.failed else []
    done = min(job.done, job.total)
    return JobStatus(
        id=job.id,
        kind=job.kind,
        state=job.state,
        stage="cancelling" if job.cancel and not over else job.stage,
        model=job.model,
        options=job.options,
        progress=JobProgress(done=done, total=job.total, share=round(done / job.total, 4) if job.total else 0.0),
        rate=None if job.rate is None else round(job.rate, 3),
        eta_seconds=None if job.eta is None else round(max(0.0, job.eta), 1),
        ahead=jobs.store.ahead(job.number) if job.state == "queued" else None,
        failed=job.failed,
        failures=[JobFailure(image=image, reason=reason) for image, reason in failures],
        error=job.error,
        runs=job.runs,
        created=_time(job.created),
        started=None if job.started is None else _time(job.started),
        finished=None if job.finished is None else _time(job.finished),
        result=f"/v1/jobs/{job.id}/result" if job.state == "done" else None,
        result_bytes=job.result_bytes,
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(round(seconds, 3), UTC)
