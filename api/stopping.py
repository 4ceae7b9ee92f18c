"""What happens when the service is asked to stop: at once, while requests under way end, and after that."""

from __future__ import annotations

import asyncio

from starlette.concurrency import run_in_threadpool

from api.engine import Engine
from api.jobs.service import JobService
from api.worker import InferenceWorker


class Stopping:
    """The order of stopping, so that it takes little longer than ``grace`` seconds however much there is to do.

    1. `begin`, when the signal comes: images that wait and new ones are answered 503, jobs are interrupted.
    2. Images being worked on get ``grace`` seconds; whoever waits for one longer is answered 503.
    3. `finish`, once no connection is left: what still computes is given up.
    """

    def __init__(self, worker: InferenceWorker, jobs: JobService | None, engine: Engine, grace: float) -> None:
        self.begun = asyncio.Event()
        self._worker = worker
        self._jobs = jobs
        self._engine = engine
        self._grace = grace
        self._ending_jobs: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """See the class; in the event loop. A second call changes nothing."""
        if self.begun.is_set():
            return
        self.begun.set()
        self._worker.close(self._grace)
        if self._jobs is not None:
            # Beside the images: both may take seconds.
            self._ending_jobs = asyncio.ensure_future(run_in_threadpool(self._jobs.interrupt))

    async def finish(self) -> None:
        """See the class."""
        self.begin()
        await run_in_threadpool(self._engine.close)
        if self._ending_jobs is not None and self._jobs is not None:
            await self._ending_jobs
            await run_in_threadpool(self._jobs.stop)
