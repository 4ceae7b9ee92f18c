"""From a stage's progress to a job's row, a few times a second at most."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

from api.jobs.store import Job, JobStore, JobStoreError

_EVERY = 0.5  # seconds
log = logging.getLogger("stego.jobs")


class Reporter:
    """A progress callback that writes to the table of jobs.

    Rate and time left are those of the present stage in the present run. With ``counted``, only that stage moves the
    job's count of images, in which what earlier runs have done counts as done; without, each stage counts its own steps.

    Args:
        manifest: file whose lines name failures as they happen; None where there is none.
        counted: name of the stage in which images are finished.
    """

    def __init__(self, store: JobStore, job: Job, *, manifest: Path | None = None, counted: str | None = None) -> None:
        self._store = store
        self._job = job
        self._counted = counted
        self._failures = None if manifest is None else _Failures(manifest)
        self._stage = ""
        self._begun = (0.0, 0)
        self._said = 0.0
        self.refused = 0
        """Images that failed before the manifest."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        fresh = stage != self._stage
        if fresh:
            # What is done already at the first call was not done since.
            self._stage, self._begun = stage, (now, done)
        if not fresh and done < total and now - self._said < _EVERY:
            return
        self._said = now
        seconds, count = now - self._begun[0], done - self._begun[1]
        rate = count / seconds if count > 0 and seconds > 0 else None
        eta = (total - done) / rate if rate and done < total else None
        counted = stage == self._counted
        moves = counted or self._counted is None
        before = max(0, self._job.total - total) if counted else 0
        failed = self.refused + (self._failures.count() if self._failures else 0)
        try:
            self._store.report(
                self._job.id,
                stage=stage,
                done=before + done if moves else None,
                total=total if self._counted is None else None,
                failed=failed,
                rate=rate if moves else None,
                eta=eta if moves else None,
                forgive=counted,
            )
        except JobStoreError as error:
            # The work itself may well go on where its progress cannot be written for a moment.
            log.warning("job %s: %s", self._job.id, error)


class _Failures:
    """Images that the latest line of a growing manifest calls failed; only what is new is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._failed: set[str] = set()

    def count(self) -> int:
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self._read:  # written anew, without superseded lines
                    self._read, self._failed = 0, set()
                file.seek(self._read)
                lines = file.read().splitlines(keepends=True)
        except OSError:
            return len(self._failed)
        for line in lines:
            if not line.endswith(b"\n"):
                break
            self._read += len(line)
            try:
                entry = json.loads(line)
                name = str(entry["image"])
                (self._failed.add if entry["status"] == "failed" else self._failed.discard)(name)
            except (ValueError, KeyError, TypeError):
                continue
        return len(self._failed)
