"""Worker: takes jobs from the queue, gives each a process of its own, and mends what killed processes left behind."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time

from api.jobs.folder import DataFolder
from api.jobs.lock import file_lock
from api.jobs.process import end
from api.jobs.queue import JobQueue
from api.jobs.quiet import NowAndThen
from api.jobs.retention import sweep
from api.jobs.settings import WorkerSettings
from api.jobs.store import JobStore
from models.errors import StegoError

log = logging.getLogger("stego.jobs")
queue_log = logging.getLogger("stego.jobs.queue")

_LOOK = 0.2  # seconds between looks at a job under way
_GRACE = 15.0  # seconds a process gets to put its work in order
_MEND = 3.0  # seconds between looks for what was left behind
_PATIENCE = 30.0  # seconds from a job's leaving the queue until its process takes it up, at most
_SWEEP = 60.0  # seconds between looks for what is too old


class JobRunner:
    """The work of one worker process."""

    def __init__(self, settings: WorkerSettings) -> None:
        assert settings.jobs.data is not None
        self._settings = settings
        self._folder = DataFolder(settings.jobs.data)
        self._folder.prepare()
        self._store = JobStore(self._folder.database)
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._under_way: set[str] = set()
        self.queue = JobQueue(settings.jobs, self._folder, self.run)

    def run(self, job: str) -> None:
        """Run a job in a process of its own, until that ends; nothing if the job does not wait any more."""
        row = self._store.find(job)
        with self._changed:
            if row is None or row.state != "queued" or self._stopping.is_set() or job in self._under_way:
                return
            self._under_way.add(job)
        try:
            code = self._watch(self._start(job), job) if self._folder.job(job).path.exists() else None
        finally:
            with self._changed:
                self._under_way.discard(job)
                self._changed.notify_all()
        # Only now: what this puts into the queue may be taken at once by another thread.
        if code is None:
            self._store.finish(job, "failed", error="the job's files are gone")
        else:
            self._settle(job, code)

    def tend(self) -> None:
        """Mend and sweep now and then, until stopped. Runs in a thread."""
        swept: float | None = None
        while not self._stopping.is_set():
            try:
                self.mend(patience=_PATIENCE if swept is not None else 0.0)
                if swept is None or time.monotonic() - swept > _SWEEP:
                    swept = time.monotonic()
                    sweep(self._store, self._folder, self._settings.jobs)
            except StegoError as error:
                queue_log.warning("%s", error)
            except Exception:
                log.exception("looking after jobs failed")
            self._stopping.wait(_MEND)

    def mend(self, patience: float) -> None:
        """Have jobs whose process was killed wait again, and see that what has waited for ``patience`` seconds is in the queue."""
        queued = self.queue.waiting()
        for job in self._store.unfinished():
            if job.state == "running":
                self._bury(job.id)
            elif job.id not in queued | self._under_way and time.time() - job.updated >= patience:
                self.queue.put(job.id)

    def stop(self) -> None:
        """Interrupt jobs under way; they wait again, and go on from where they are."""
        self._stopping.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, timeout=_GRACE + 5)

    def _start(self, job: str) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C in the terminal is the server's to handle. -P: a folder called api where one stands is not ours.
        process = subprocess.Popen([sys.executable, "-P", "-m", "api.jobs.process"], stdin=subprocess.PIPE, start_new_session=True)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps({"settings": self._settings.model_dump(mode="json"), "job": job}).encode() + b"\n")
            process.stdin.flush()
        return process

    def _watch(self, process: subprocess.Popen[bytes], job: str) -> int:
        """Wait for a process to end, or end it: on cancellation, at the end of its time, or when the worker stops."""
        begun = time.monotonic()
        told: float | None = None
        while True:
            try:
                code = process.wait(_LOOK)
                break
            except subprocess.TimeoutExpired:
                now = time.monotonic()
            if told is None and self._must_end(job, now - begun):
                told = now
                process.terminate()
            elif told is not None and now - told > _GRACE:
                process.kill()
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        return code

    def _must_end(self, job: str, seconds: float) -> bool:
        if self._stopping.is_set():
            return True
        try:
            row = self._store.find(job)
            if row is not None and row.state == "running" and seconds > self._settings.jobs.seconds:
                message = f"the job took longer than the {self._settings.jobs.seconds:g} s allowed"
                return self._store.finish(job, "failed", error=message)
        except StegoError:
            return False
        return row is None or row.cancel or row.state in ("failed", "cancelled")

    def _settle(self, job: str, code: int) -> None:
        """What follows from the end of a process."""
        row = self._store.find(job)
        if row is None or row.state in ("failed", "cancelled"):
            self._folder.job(job).remove()
        elif row.state == "running":
            self._bury(job)
        elif row.state == "queued" and code and not self._stopping.is_set():
            # It ended before it took the job up, which must not go on for ever.
            self._store.put_back(job, deaths=1)
            self._again(job)

    def _bury(self, job: str) -> None:
        """If the process that had taken up ``job`` is dead, have the job wait again, or end it where that was asked for."""
        folder = self._folder.job(job)
        with file_lock(folder.lock) as held:
            # Whoever works on a job holds its lock; with it in our hands the row cannot change under us.
            row = self._store.find(job)
            if row is None or row.state != "running" or (not held and folder.path.exists()):
                return
            log.warning("job %s: its process is gone", job)
            if row.cancel:
                end(self._store, folder, row, "cancelled", None)
            else:
                self._store.put_back(job)
        self._again(job)

    def _again(self, job: str) -> None:
        """Put a job that waits into the queue, unless its process has died too often."""
        row = self._store.find(job)
        if row is None or row.state != "queued":
            return
        if row.deaths >= self._settings.jobs.attempts:
            message = f"its process died {row.deaths} times in a row; is there enough memory for these images?"
            end(self._store, self._folder.job(job), row, "failed", message)
        else:
            self.queue.put(job)


def run_worker(settings: WorkerSettings) -> None:
    """Work on jobs until SIGTERM or SIGINT: jobs under way are interrupted then, and go on when a worker comes again.

    Raises:
        StegoError: the data folder or the queue cannot be used.
    """
    runner = JobRunner(settings)
    threading.Thread(target=runner.tend, daemon=True, name="tend").start()
    logging.getLogger("huey").setLevel(logging.WARNING)
    # Both say so, many times a minute, while the queue cannot be reached; other news of theirs comes once.
    for logger in (logging.getLogger("huey.consumer.Worker"), queue_log):
        logger.addFilter(NowAndThen())
    huey = runner.queue.huey
    consumer = huey.create_consumer(workers=max(1, settings.jobs.workers), worker_type="thread", periodic=False, max_delay=0.5, scheduler_interval=60)
    consumer.start()
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda given, _: asked.append(given))
    log.info("worker %d takes jobs from %s", os.getpid(), settings.jobs.data)
    while not asked:
        time.sleep(_LOOK)
        consumer.check_worker_health()
    consumer.stop_flag.set()
    runner.stop()


def work_in_foreground(settings: WorkerSettings) -> None:
    """`run_worker` for a terminal: with a log on standard error.

    Raises:
        StegoError: see `run_worker`.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    run_worker(settings)


def main() -> None:
    """Read one line of JSON, the settings, and work until the input ends: then the server is gone."""
    settings = WorkerSettings.model_validate(json.loads(sys.stdin.readline()))
    threading.Thread(target=_leave_with_server, daemon=True).start()
    try:
        work_in_foreground(settings)
    except StegoError as error:
        sys.exit(f"stego: {error}")


def _leave_with_server() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE + 10)
    os._exit(1)


if __name__ == "__main__":
    main()
