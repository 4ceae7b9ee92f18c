"""What finished jobs leave is removed in time: by age, and by size, the oldest first."""

from __future__ import annotations

import logging
import shutil
import time

from api.jobs.folder import DataFolder, is_job_id
from api.jobs.settings import JobSettings
from api.jobs.store import JobStore
from api.model_folder import ModelFolder

log = logging.getLogger("stego.jobs")
_UNKNOWN_SECONDS = 3600.0  # a folder or an upload without a row this old belongs to no request under way
_DAY = 86_400.0


def sweep(store: JobStore, folder: DataFolder, settings: JobSettings) -> None:
    """Remove finished jobs that are too old or together too large, and files that no job knows; in the folder of models what was never finished."""
    now = time.time()
    if settings.models_folder is not None:
        ModelFolder(settings.models_folder).remove_unfinished()
    finished = store.finished()
    kept = sum(job.result_bytes or 0 for job in finished)
    for job in finished:
        age = now - (job.finished or job.updated)
        if age > settings.keep_days * _DAY or (kept > settings.keep_bytes and job.result_bytes):
            kept -= job.result_bytes or 0
            log.info("job %s is removed: %.1f days old, %d bytes", job.id, age / _DAY, job.result_bytes or 0)
            folder.job(job.id).remove()
            store.remove(job.id)
        elif job.state == "done":
            folder.job(job.id).keep_result_only()
        else:
            folder.job(job.id).remove()
    for path in [*folder.jobs.iterdir(), *folder.incoming.iterdir()]:
        try:
            stale = now - path.stat().st_mtime > _UNKNOWN_SECONDS
        except FileNotFoundError:
            continue
        if stale and not (is_job_id(path.name) and store.find(path.name)):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
