"""What may go wrong with jobs and models, as the status a client understands."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fastapi import Request
from starlette.requests import ClientDisconnect

from api.catalog import FixedModelError, StaleEditError, UnknownModelError
from api.errors import ApiError
from api.jobs.archive import ArchiveError
from api.jobs.receiving import no_room
from api.jobs.service import JobService, JobsOffError, NoResultError, OptionError, TooManyJobsError, UnknownJobError
from api.jobs.store import JobStoreError
from api.model_folder import NameTakenError, NoSuchModelError
from models.errors import StegoError
from stego_app.atomic import OutputError

log = logging.getLogger("stego.jobs")

_DRAIN_SECONDS = 5.0
_STATUS: dict[type[StegoError], tuple[int, str, str | None]] = {
    UnknownJobError: (404, "unknown_job", "id"),
    NoResultError: (409, "no_result", None),
    NameTakenError: (409, "name_taken", "name"),
    UnknownModelError: (404, "unknown_model", "model"),
    NoSuchModelError: (404, "unknown_model", "model"),
    FixedModelError: (409, "fixed_model", "model"),
    StaleEditError: (412, "changed_since", "If-Match"),
}


@contextmanager
def answering() -> Iterator[None]:
    """Problems inside the block as `ApiError`."""
    try:
        yield
    except ArchiveError as error:
        raise ApiError(error.status, error.code, str(error), field="images") from error
    except OptionError as error:
        raise ApiError(422, "invalid_option", str(error), field=error.field) from error
    except JobsOffError as error:
        raise ApiError(503, "jobs_off", str(error)) from error
    except TooManyJobsError as error:
        raise ApiError(503, "busy", str(error), headers={"Retry-After": "30"}) from error
    except (JobStoreError, OutputError) as error:
        log.error("%s", error)
        raise no_room(error) from error
    except StegoError as error:
        status, code, field = next((answer for kind, answer in _STATUS.items() if isinstance(error, kind)), (422, "invalid_request", None))
        raise ApiError(status, code, str(error), field=field) from error


def need(service: JobService | None) -> JobService:
    """The jobs of this server.

    Raises:
        ApiError: 503 where it was started without a data folder.
    """
    if service is None:
        raise ApiError(503, "jobs_off", "this service takes no jobs; start it with --data FOLDER")
    return service


async def drain(request: Request) -> None:
    """Read what a refused client still sends, for a short while: it would see a reset connection in place of the answer."""
    # RuntimeError is Starlette's word for a body that has been read to its end.
    with suppress(TimeoutError, ClientDisconnect, ApiError, RuntimeError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in request.stream():
                pass
