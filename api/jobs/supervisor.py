"""The server's side of a worker: a child process that is started again when it dies."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
import time

from api.jobs.settings import WorkerSettings

log = logging.getLogger("stego.jobs")

_GRACE = 25.0  # seconds a worker gets to put its jobs in order; longer than it gives them
_WELL = 60.0  # a worker that lived this long was not broken from the start
_LONGEST = 30.0  # seconds between two starts


class WorkerProcess:
    """Keeps one worker process running. It ends with this process, however this one ends: its input is a pipe from here."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._order = settings.model_dump_json().encode() + b"\n"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="worker")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Of the worker, while there is one."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def start(self) -> None:
        """Start the worker."""
        self._thread.start()

    def stop(self) -> None:
        """End the worker; jobs under way are interrupted and go on when a worker comes again."""
        self._stopping.set()
        self._thread.join(_GRACE + 5)

    def _keep(self) -> None:
        pause = 0.2
        while not self._stopping.is_set():
            begun = time.monotonic()
            process = self._process = self._start()
            while process.poll() is None and not self._stopping.is_set():
                self._stopping.wait(0.2)
            if self._stopping.is_set():
                self._end(process)
                return
            pause = 0.2 if time.monotonic() - begun > _WELL else min(_LONGEST, 2 * pause)
            log.warning("the worker for jobs ended with code %d; another starts in %.1f s", process.returncode, pause)
            self._stopping.wait(pause)

    def _start(self) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C in the terminal is the server's to handle. -P: a folder called api where one stands is not ours.
        process = subprocess.Popen([sys.executable, "-P", "-m", "api.jobs.worker"], stdin=subprocess.PIPE, start_new_session=True)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(self._order)
            process.stdin.flush()
        return process

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
