"""The JSON of jobs and of editing models."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.model_folder import NAME_PATTERN


class JobProgress(BaseModel):
    """How far a job is."""

    done: int = Field(ge=0, description="Images finished, failed ones among them; of a fit, steps of the present stage.")
    total: int = Field(ge=0)
    share: float = Field(ge=0, le=1)


class JobFailure(BaseModel):
    """An image that could not be used."""

    image: str
    reason: str


class JobStatus(BaseModel):
    """A job. It is kept for some days after its end; then its id is unknown."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "0f5a2bd7c0a14bd2a36f9b5ba1c1f0de",
                "kind": "label",
                "state": "running",
                "stage": "labelling",
                "model": "default",
                "options": {"archive": "photos", "crf": True, "flip": False, "overlays": True, "confidence": False},
                "progress": {"done": 12, "total": 30, "share": 0.4},
                "rate": 1.9,
                "eta_seconds": 9.5,
                "ahead": None,
                "failed": 1,
                "failures": [],
                "error": None,
                "runs": 1,
                "created": "2026-11-25T09:00:00Z",
                "started": "2026-11-25T09:00:02Z",
                "finished": None,
                "result": None,
                "result_bytes": None,
            }
        }
    )

    id: str
    kind: Literal["label", "fit"]
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    stage: str = Field(description="What is being done; empty while nothing is.")
    model: str = Field(description="The model that is used, or of a fit the one that it makes.")
    options: dict[str, Any]
    progress: JobProgress
    rate: float | None = Field(description="Images (or steps) a second in the present run.")
    eta_seconds: float | None = Field(ge=0, description="Seconds left of the present stage.")
    ahead: int | None = Field(description="Jobs that wait and come before this one; null unless it waits.")
    failed: int = Field(ge=0, description="Images that could not be used so far.")
    failures: list[JobFailure] = Field(description="The first 100 of them, once the job is over; all are in the result's `failures.csv`.")
    error: str | None = Field(description="Why the job failed, in one line.")
    runs: int = Field(ge=0, description="How often it was taken up; more than once after an interruption.")
    created: datetime
    started: datetime | None
    finished: datetime | None
    result: str | None = Field(description="Where the result is downloaded; null unless the job is done.")
    result_bytes: int | None


class JobList(BaseModel):
    """Jobs, the newest first."""

    model_config = ConfigDict(json_schema_extra={"example": {"jobs": [], "before": None}})

    jobs: list[JobStatus]
    before: str | None = Field(description="Pass as `before` for older ones; null where there are none.")


class NewName(BaseModel):
    """The body of ``PATCH /v1/models/{name}``."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "streets"}})

    name: str = Field(pattern=rf"^{NAME_PATTERN}$", description="What the model is to be called.")


class _Op(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RenameOp(_Op):
    """Name a class."""

    op: Literal["rename"]
    id: int = Field(ge=0, description="The class's id.")
    name: str = Field(min_length=1, max_length=80)


class ColourOp(_Op):
    """Colour a class."""

    op: Literal["colour"]
    id: int = Field(ge=0)
    color: str = Field(pattern="^#[0-9A-Fa-f]{6}$")


class MergeOp(_Op):
    """Make one class of several."""

    op: Literal["merge"]
    ids: list[int] = Field(min_length=2, max_length=255)


class SplitOp(_Op):
    """Make two classes of one."""

    op: Literal["split"]
    id: int = Field(ge=0)


class IgnoreOp(_Op):
    """Leave a class out: its pixels become 255."""

    op: Literal["ignore"]
    id: int = Field(ge=0)


class EditRequest(BaseModel):
    """Changes to a model's classes. All ids are those of the classes as they are before this request (after ``undo``)."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"edits": [{"op": "rename", "id": 0, "name": "road"}, {"op": "merge", "ids": [3, 7]}, {"op": "ignore", "id": 5}]}},
    )

    edits: list[Annotated[RenameOp | ColourOp | MergeOp | SplitOp | IgnoreOp, Field(discriminator="op")]] = Field(default=[], max_length=255)
    undo: int = Field(default=0, ge=0, le=10_000, description="Take back this many of the latest edits first.")
    classes: int | None = Field(default=None, ge=1, le=255, description="Granularity at which ids are meant; the model's own if absent.")
    save_as: str | None = Field(
        default=None, pattern=rf"^{NAME_PATTERN}$", description="Save the edited model under this new name and leave the old one as it is."
    )


class NameRequest(BaseModel):
    """The body of ``POST /v1/models/{name}/names``."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"words": ["sky", "road: street, asphalt", "tree"], "dry_run": True}})

    words: list[Annotated[str, Field(min_length=1, max_length=400)]] = Field(
        min_length=1, max_length=1000, description="Names to choose from, two or more; other ways to say one may follow a colon, parted by commas."
    )
    least: float = Field(default=0.0, ge=0, le=1, description="Confidence below which no word is taken.")
    classes: int | None = Field(default=None, ge=1, le=255, description="Granularity at which classes are named; the model's own if absent.")
    dry_run: bool = Field(default=False, description="Say the names and change nothing.")
    save_as: str | None = Field(
        default=None, pattern=rf"^{NAME_PATTERN}$", description="Save the named model under this new name and leave the old one as it is."
    )


class NameCandidate(BaseModel):
    """A word and its probability."""

    name: str
    confidence: float = Field(ge=0, le=1)


class FoundName(BaseModel):
    """What was found for a class."""

    id: int
    name: str | None = Field(description="The word that fits best; null where none of them is taken.")
    confidence: float = Field(ge=0, le=1, description="Of that word, or of none of them.")
    candidates: list[NameCandidate] = Field(description="The best words, the best first.")


class FoundNames(BaseModel):
    """The answer to ``POST /v1/models/{name}/names``."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": "streets",
                "changed": True,
                "names": [
                    {"id": 0, "name": "road", "confidence": 0.71, "candidates": [{"name": "road", "confidence": 0.71}, {"name": "sky", "confidence": 0.04}]}
                ],
            }
        }
    )

    model: str = Field(description="The model that holds the names; the one asked about where nothing was changed.")
    changed: bool
    names: list[FoundName]
