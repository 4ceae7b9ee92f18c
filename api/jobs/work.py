"""What the process of a job works with, and the ways in which its work can end."""

from __future__ import annotations

from dataclasses import dataclass

from api.jobs.archive import Limits, read_refused, unpack
from api.jobs.folder import JobFolder
from api.jobs.reporter import Reporter
from api.jobs.settings import WorkerSettings
from api.jobs.store import Job, JobStore
from models.errors import StegoError


@dataclass(frozen=True)
class Work:
    """A job that has been taken up."""

    job: Job
    folder: JobFolder
    settings: WorkerSettings
    store: JobStore
    report: Reporter

    def unpacked(self, inside: str = ".") -> list[tuple[str, str]]:
        """Unpack the upload, to the folder ``inside`` of the input, unless an earlier run has; the images refused, and why.

        Raises:
            StegoError: see `unpack`.
        """
        limits = Limits(self.settings.jobs.archive_files, self.settings.jobs.expanded_bytes)
        folder = self.folder
        if not folder.input.exists():
            unpack(
                folder.upload,
                folder.input,
                folder.refused,
                limits,
                max_pixels=self.settings.max_pixels,
                step=lambda done, total: self.report("unpacking", done, total),
                inside=inside,
            )
        folder.upload.unlink(missing_ok=True)
        refused = read_refused(folder.refused)
        self.report.refused = len(refused)
        return refused

    def without_paths(self, text: str) -> str:
        """``text`` without the folders of this machine, and without advice for who sits at it, for a client to read."""
        text = text.replace("free some and run the same command again to go on from here", "send the job again once there is room")
        models = self.settings.jobs.models_folder
        for path in (self.folder.out, self.folder.input, self.folder.path, self.settings.jobs.data, models):
            if path is not None:
                text = text.replace(f"{path}/", "").replace(str(path), path.name)
        return " ".join(text.split())


@dataclass(frozen=True)
class Done:
    """The work is done and its result written."""

    failures: list[tuple[str, str]]
    result_bytes: int


class NothingUsableError(StegoError):
    """No image of the archive could be used."""

    def __init__(self, failures: list[tuple[str, str]]) -> None:
        super().__init__(f"none of the {len(failures)} images could be used (first: {failures[0][1]})" if failures else "no image could be used")
        self.failures = failures
