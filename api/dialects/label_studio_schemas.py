"""What Label Studio sends and is answered, as far as the service reads it; further members are let pass."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_INTERFACE = '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image"><Label value="sky"/><Label value="road"/></BrushLabels></View>'


class SetupRequest(BaseModel):
    """Sent when the backend is connected. ``hostname`` and ``access_token`` are not used: whom to fetch from is the operator's word alone."""

    model_config = ConfigDict(
        populate_by_name=True,
        json_schema_extra={"example": {"project": "1.1700000000", "schema": _INTERFACE, "hostname": "http://localhost:8080", "access_token": ""}},
    )

    schema_: str = Field(alias="schema", description="The labelling interface.")
    project: str | int | None = None


class Setup(BaseModel):
    """The model's version: its name and fingerprint, which changes with every edit."""

    model_config = ConfigDict(protected_namespaces=(), json_schema_extra={"example": {"model_version": "default@5f1c0e92aa31b7d4"}})

    model_version: str


class Task(BaseModel):
    """One task; ``data`` holds its image's address, or the image itself as a data: URI, under the name that the interface gives."""

    id: int | str | None = None
    data: dict[str, Any]


class PredictRequest(BaseModel):
    """Tasks to predict for."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "tasks": [{"id": 7, "data": {"image": "/data/upload/1/photo.jpg"}}],
                "label_config": _INTERFACE,
                "project": "1.1700000000",
                "params": {"context": None},
            }
        }
    )

    tasks: list[Task] = Field(max_length=1000)
    label_config: str
    project: str | int | None = None
    params: dict[str, Any] | None = Field(default=None, description="`context.result` may hold keypoints that were clicked.")


class Prediction(BaseModel):
    """Regions for one task."""

    model_config = ConfigDict(protected_namespaces=())

    result: list[dict[str, Any]] = Field(description="Brushes, as Label Studio keeps them.")
    score: float | None = None
    model_version: str
    error: str | None = Field(default=None, description="Why there is no result.")
    left_out: list[str] | None = Field(default=None, description="Classes found whose names are no labels of the interface.")


class Predictions(BaseModel):
    """One entry a task, in their order."""

    model_config = ConfigDict(json_schema_extra={"example": {"results": [{"result": [], "model_version": "default@5f1c0e92aa31b7d4"}]}})

    results: list[Prediction]


class WebhookEvent(BaseModel):
    """Something that happened in a project."""

    model_config = ConfigDict(json_schema_extra={"example": {"action": "ANNOTATION_CREATED", "project": {"id": 1}}})

    action: str = Field(default="", max_length=100)


class WebhookAnswer(BaseModel):
    """What was done about it: nothing."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ignored", "action": "ANNOTATION_CREATED"}})

    status: str
    action: str
