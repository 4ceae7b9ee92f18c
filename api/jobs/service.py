"""The server's side of jobs: takes them, tells of them, cancels them. The work is done by workers."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from api.catalog import Catalog
from api.jobs.archive import Limits, look_through
from api.jobs.folder import DataFolder, is_job_id
from api.jobs.label_job import asked_formats
from api.jobs.queue import JobQueue, QueueError
from api.jobs.settings import JobSettings, WorkerSettings
from api.jobs.store import Job, JobStore, Kind, State
from api.jobs.supervisor import WorkerProcess
from api.model_folder import NameTakenError, snapshot
from api.settings import ServiceSettings
from models.errors import StegoError
from stego_app.atomic import output_error
from stego_app.labelling.export import check_formats

log = logging.getLogger("stego.jobs")


class JobsOffError(StegoError):
    """The service was started without a data folder."""


class TooManyJobsError(StegoError):
    """As many jobs wait as may."""


class UnknownJobError(StegoError):
    """There is no such job (any more)."""


class OptionError(StegoError):
    """An option that its model, or anything here, cannot follow; ``field`` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class NoResultError(StegoError):
    """The job has no result (yet)."""


class JobService:
    """Jobs of one server.

    Raises:
        StegoError: the data folder or the queue cannot be used.
    """

    def __init__(self, settings: JobSettings, worker: WorkerSettings, catalog: Catalog) -> None:
        assert settings.data is not None
        self.settings = settings
        self.catalog = catalog
        self._folder = DataFolder(settings.data)
        self._folder.prepare()
        self.store = JobStore(self._folder.database)
        self._queue = JobQueue(settings, self._folder, _not_here)
        self.worker = WorkerProcess(worker) if settings.workers else None

    def start(self) -> None:
        """Start the worker process, if this server is to have one."""
        if self.worker is not None:
            self.worker.start()

    def interrupt(self) -> None:
        """End the worker process; jobs under way go on at the next start. What is known of jobs can still be asked."""
        if self.worker is not None:
            self.worker.stop()

    def stop(self) -> None:
        """`interrupt`, and give back what is open."""
        self.interrupt()
        self.store.close()

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """Where to write an upload; it is removed at the end of the block unless a job has taken it.

        Raises:
            TooManyJobsError: it need not be sent, as no further job can wait.
        """
        waiting = self.store.counts().get("queued", 0)
        if waiting >= self.settings.waiting:
            raise self._too_many(waiting)
        path = self._folder.incoming / f"{uuid.uuid4().hex}.zip"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def label(self, upload: Path, options: Mapping[str, Any], owner: str = "") -> Job:
        """A job of ``owner`` that labels the archive ``upload``, with the model as it is now.

        Raises:
            ArchiveError: the archive is not taken.
            UnknownModelError, FixedModelError: there is no such model, or none that a worker could load.
            OptionError: an option that the model cannot follow, or a format that there is not.
            StegoError: a folder that cannot be written to.
        """
        name = options.get("model") or self.catalog.default
        source = self.catalog.source(name)
        facts = self.catalog.facts(name)
        if (options.get("classes") or 1) > facts.max_classes:
            raise OptionError("classes", f"{options['classes']} is more than this model's {facts.max_classes}; expected 1 to {facts.max_classes}")
        if (options.get("confidence") or options.get("abstain") is not None) and not facts.confidence:
            field = "confidence" if options.get("confidence") else "abstain"
            raise OptionError(field, f"model '{name}' cannot tell how far pixels are to be trusted; train it again to have it")
        try:
            check_formats(asked_formats(options))
        except StegoError as error:
            raise OptionError("formats", str(error)) from error
        return self._add("label", upload, owner, name, {key: value for key, value in options.items() if key != "model"}, source)

    def fit(self, upload: Path, options: Mapping[str, Any], owner: str = "") -> Job:
        """A job of ``owner`` that makes a model of the archive ``upload``.

        Raises:
            ArchiveError: the archive is not taken.
            NameTakenError: a model has the name, or another job is about to give it to one.
            StegoError: a folder that cannot be written to.
        """
        name = str(options["name"])
        self.check_name(name)
        return self._add("fit", upload, owner, name, {key: value for key, value in options.items() if key != "name"}, None)

    def check_name(self, name: str) -> None:
        """That a fit may make a model of this name.

        Raises:
            NameTakenError: a model has the name, or another job is about to give it to one.
        """
        self.catalog.check_free(name)
        if any(job.kind == "fit" and job.model == name for job in self.store.unfinished()):
            raise NameTakenError(f"name: another job is making a model '{name}'; choose another name, or cancel that job")

    def find(self, job: str, viewer: str | None = None) -> Job:
        """The job, if it is one of ``viewer``'s; None sees all.

        Raises:
            UnknownJobError: there is none (any more) that the viewer may know of.
        """
        row = self.store.find(job) if is_job_id(job) else None
        if row is None or viewer not in (None, row.owner):
            raise UnknownJobError("no job of that id; finished ones are removed after some days")
        return row

    def cancel(self, job: str, viewer: str | None = None) -> State | None:
        """Cancel a job, or remove one that is over with its result; its state afterwards, None where it was removed.

        Raises:
            UnknownJobError: see `find`.
        """
        if self.find(job, viewer).state in ("done", "failed", "cancelled"):
            # Its files go first: a full disk has no room for the news otherwise, and this is how room is made.
            self._folder.job(job).remove()
            self.store.remove(job)
            return None
        state = self.store.cancel(job)
        if state == "cancelled":
            self._folder.job(job).remove()
        return state

    def result(self, job: str, viewer: str | None = None) -> Path:
        """The archive of a job that is done.

        Raises:
            UnknownJobError: see `find`.
            NoResultError: it is not done, or its result is gone.
        """
        row = self.find(job, viewer)
        if row.state != "done":
            raise NoResultError(f"the job is {row.state}" + (f": {row.error}" if row.error else "; its result is there once it is done"))
        path = self._folder.job(job).result
        if not path.is_file():
            raise NoResultError("the job's result is gone from the disk of the service")
        return path

    @staticmethod
    def _too_many(waiting: int) -> TooManyJobsError:
        return TooManyJobsError(f"{waiting} jobs wait already; try again later")

    def _add(self, kind: Kind, upload: Path, owner: str, model: str, options: dict[str, Any], source: Path | None) -> Job:
        images = look_through(upload, Limits(self.settings.archive_files, self.settings.expanded_bytes))
        job = upload.stem
        folder = self._folder.job(job)
        try:
            folder.path.mkdir(mode=0o700, parents=True)
            upload.replace(folder.upload)
            if source is not None:
                snapshot(source, folder.model)
            if not self.store.add(job, kind, owner=owner, model=model, options=options, total=len(images), waiting=self.settings.waiting):
                if kind == "fit":
                    self.check_name(model)
                raise self._too_many(self.settings.waiting)
        except BaseException as error:
            folder.remove()
            if isinstance(error, OSError):
                raise output_error(folder.path, error) from error
            raise
        try:
            self._queue.put(job)
        except QueueError as error:
            log.warning("job %s waits outside of the queue until a worker looks for such: %s", job, error)
        return self.find(job)


def make_job_service(settings: ServiceSettings, catalog: Catalog) -> JobService | None:
    """Jobs as ``settings`` want them; None without a data folder.

    Raises:
        StegoError: the data folder or the queue cannot be used.
    """
    if settings.jobs.data is None:
        return None
    models = settings.jobs.models_folder
    # Workers stand in other folders than the server.
    jobs = settings.jobs.model_copy(update={"data": settings.jobs.data.expanduser().absolute(), "models": models and models.expanduser().absolute()})
    return JobService(jobs, WorkerSettings(jobs=jobs, device=settings.device, runtime=settings.runtime, max_pixels=settings.max_pixels), catalog)


def _not_here(job: str) -> None:
    raise AssertionError(f"a server does not work on jobs ({job})")
