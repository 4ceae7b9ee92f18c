"""The process of one job: ``python -m api.jobs.process``, started by a worker, which tells it what to do on its input.

It ends with the worker: the input's end is the sign. A process of its own gives back its memory, can be stopped in the
midst of anything, and takes no other job with it when it dies.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

from api.jobs.folder import DataFolder, JobFolder
from api.jobs.lock import file_lock
from api.jobs.reporter import Reporter
from api.jobs.settings import WorkerSettings
from api.jobs.store import Job, JobStore, JobStoreError
from api.jobs.work import Done, NothingUsableError, Work
from models.errors import StegoError

log = logging.getLogger("stego.jobs")
_NICE = 5  # requests that someone waits for come first


def run_job(settings: WorkerSettings, job_id: str) -> None:
    """Take up a job that waits and bring it to an end; nothing if another process has it."""
    assert settings.jobs.data is not None
    data = DataFolder(settings.jobs.data)
    store = JobStore(data.database)
    folder = data.job(job_id)
    with file_lock(folder.lock) as held:
        if held and store.claim(job_id) and (job := store.find(job_id)) is not None:
            _run(settings, store, folder, job)


def _run(settings: WorkerSettings, store: JobStore, folder: JobFolder, job: Job) -> None:
    work = Work(job, folder, settings, store, _reporter(store, folder, job))
    try:
        done = _do(work)
    except KeyboardInterrupt:
        row = store.find(job.id)
        if row is not None and row.cancel:
            end(store, folder, job, "cancelled", None)
        else:
            store.put_back(job.id, deaths=-1)
            log.info("job %s: interrupted; it will go on from here", job.id)
    except NothingUsableError as error:
        store.set_failures(job.id, [(image, work.without_paths(reason)) for image, reason in error.failures])
        end(store, folder, job, "failed", str(error))
    except StegoError as error:
        log.warning("job %s failed: %s", job.id, error)
        end(store, folder, job, "failed", work.without_paths(str(error)))
    except MemoryError:
        end(store, folder, job, "failed", "there was not enough memory for this job")
    except Exception:
        log.exception("job %s failed", job.id)
        end(store, folder, job, "failed", f"the job failed on a defect of the service; its log has the reason under {job.id}")
    else:
        store.set_failures(job.id, [(image, work.without_paths(reason)) for image, reason in done.failures])
        store.finish(job.id, "done", result_bytes=done.result_bytes)
        folder.keep_result_only()


def end(store: JobStore, folder: JobFolder, job: Job, state: str, error: str | None) -> None:
    """End a job without a result; its files go first, since a full disk may have no room for the news otherwise."""
    assert state in ("failed", "cancelled")
    folder.remove()
    store.finish(job.id, "failed" if state == "failed" else "cancelled", error=error)


def _reporter(store: JobStore, folder: JobFolder, job: Job) -> Reporter:
    from api.jobs.label_job import manifest_of

    return Reporter(store, job, manifest=manifest_of(folder.out), counted="labelling") if job.kind == "label" else Reporter(store, job)


def _do(work: Work) -> Done:
    from api.jobs.fit_job import run_fit
    from api.jobs.label_job import run_label

    os.chdir(work.folder.path)
    return run_label(work) if work.job.kind == "label" else run_fit(work)


def main() -> None:
    """Read one line of JSON, ``{"settings": …, "job": id}``, and run that job."""
    order = json.loads(sys.stdin.readline())
    settings = WorkerSettings.model_validate(order["settings"])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_worker, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(_NICE)
    try:
        with contextlib.suppress(KeyboardInterrupt):  # before the job was taken up, or after it was put back
            run_job(settings, order["job"])
    except JobStoreError as error:
        sys.exit(f"stego: job {order['job']}: {error}")


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what follows tidies up
    raise KeyboardInterrupt


def _leave_with_worker() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
