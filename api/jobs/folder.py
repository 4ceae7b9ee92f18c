"""The data folder: where each thing of a job lies. Names come from the service alone, never from a client."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from stego_app.atomic import output_error

_ID = re.compile(r"[0-9a-f]{32}")


def is_job_id(text: str) -> bool:
    """Whether ``text`` has the form of an id; anything else is not looked for."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True)
class JobFolder:
    """One job's files.

    ``upload.zip`` becomes ``input/`` and is removed; ``model.safetensors`` is the segmenter as it was when the job came
    (or, of a fit, the one it makes); ``out/`` is worked in; ``result.zip`` is what remains.
    """

    path: Path

    @property
    def upload(self) -> Path:
        """The archive as it came."""
        return self.path / "upload.zip"

    @property
    def input(self) -> Path:
        """The images, all of them, or not there yet."""
        return self.path / "input"

    @property
    def refused(self) -> Path:
        """Images that were not unpacked, and why (JSON)."""
        return self.path / "refused.json"

    @property
    def unreadable(self) -> Path:
        """Images that a fit has found to be damaged, and why (JSON)."""
        return self.path / "unreadable.json"

    @property
    def model(self) -> Path:
        """The segmenter file."""
        return self.path / "model.safetensors"

    @property
    def out(self) -> Path:
        """What is worked in."""
        return self.path / "out"

    @property
    def cache(self) -> Path:
        """Features of a fit, kept over its interruptions."""
        return self.path / "cache"

    @property
    def result(self) -> Path:
        """What a client downloads."""
        return self.path / "result.zip"

    @property
    def lock(self) -> Path:
        """Held by the process that works on the job."""
        return self.path / "lock"

    def keep_result_only(self) -> None:
        """Remove everything but the result."""
        for folder in (self.input, self.out, self.cache, self.path / "input.part"):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.upload, self.refused, self.unreadable, self.model):
            file.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.path, ignore_errors=True)


@dataclass(frozen=True)
class DataFolder:
    """The folder that servers and workers of one service share."""

    path: Path

    @property
    def database(self) -> Path:
        """The table of jobs (SQLite)."""
        return self.path / "jobs.sqlite"

    @property
    def queue(self) -> Path:
        """The queue (SQLite), unless it is in Redis."""
        return self.path / "queue.sqlite"

    @property
    def jobs(self) -> Path:
        """A folder a job."""
        return self.path / "jobs"

    @property
    def incoming(self) -> Path:
        """Uploads under way."""
        return self.path / "incoming"

    def job(self, job: str) -> JobFolder:
        """The folder of the job with an id that the service has made."""
        assert is_job_id(job), job
        return JobFolder(self.jobs / job)

    def prepare(self) -> None:
        """Make the folders; others on the machine cannot look into them.

        Raises:
            OutputError: they cannot be made.
        """
        for folder in (self.path, self.jobs, self.incoming):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise output_error(folder, error) from error
