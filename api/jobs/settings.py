"""Settings of jobs and of the folder of models."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from stego_app.settings import load_settings


class JobSettings(BaseModel):
    """Where jobs are kept, and what they may take.

    Attributes:
        data: folder of jobs, uploads and results; None to take no jobs. All servers and workers of one service share it.
        models: folder of segmenter files that are listed, edited and added to; ``models`` inside ``data`` if None.
        redis: URL of a Redis that holds the queue; a file in ``data`` if None.
        workers: jobs worked on at the same time by the server's own worker process; 0 leaves all work to ``stego worker``.
        waiting: jobs that may wait; more are answered 503.
        archive_bytes: largest archive accepted, in bytes.
        archive_files: most files in an archive.
        expanded_bytes: most bytes that the files of an archive may have once unpacked.
        archive_timeout: seconds a client may take to send an archive.
        seconds: that one run of a job may take.
        attempts: times in a row that a worker may die at a job, without one more image done, before the job fails.
        keep_days: finished jobs older than this are removed.
        keep_bytes: oldest results are removed while all of them together are larger than this.
        loaded: segmenters from the folder of models that are held in memory at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path | None = None
    models: Path | None = None
    redis: str | None = None
    workers: int = Field(default=1, ge=0, le=64)
    waiting: int = Field(default=100, ge=1)
    archive_bytes: int = Field(default=2_000_000_000, ge=1)
    archive_files: int = Field(default=20_000, ge=1)
    expanded_bytes: int = Field(default=8_000_000_000, ge=1)
    archive_timeout: float = Field(default=900.0, gt=0)
    seconds: float = Field(default=86_400.0, gt=0)
    attempts: int = Field(default=5, ge=1)
    keep_days: float = Field(default=7.0, gt=0)
    keep_bytes: int = Field(default=20_000_000_000, ge=0)
    loaded: int = Field(default=4, ge=1)

    @property
    def models_folder(self) -> Path | None:
        """The folder of segmenter files; None where there is none."""
        return self.models or (self.data / "models" if self.data else None)


class WorkerSettings(BaseModel):
    """What a worker process is told by the server that starts it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    jobs: JobSettings
    device: str = "auto"
    runtime: str | None = None
    max_pixels: int = Field(default=40_000_000, ge=1)


def job_settings(*, data: Path | None, models: Path | None, redis: str | None, workers: int, limits: Sequence[str]) -> JobSettings:
    """Settings from the command line's options: absolute folders, the user's own data folder where none is given, ``name=value`` for all else.

    Raises:
        StegoError: a limit that is unknown or out of range.
    """
    folder = (data or default_data_folder()).expanduser().absolute()
    given = {"data": folder, "models": models and models.expanduser().absolute(), "redis": redis, "workers": workers}
    return load_settings(JobSettings, file=None, overrides=limits, fields=given, option="--job-set", example="keep_days=3")


def default_data_folder() -> Path:
    """``$STEGO_HOME``, or ``stego`` where this platform keeps a user's data."""
    if chosen := os.environ.get("STEGO_HOME"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "stego"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "stego" / "data"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "stego"
