"""The JSON that the service sends, as pydantic models: one source for answers and OpenAPI."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ClassArea(BaseModel):
    """One class found in an image."""

    id: int = Field(description="The class's value in the index PNG.")
    name: str
    color: str = Field(description="#rrggbb, as in the palette of the index PNG.", pattern="^#[0-9a-f]{6}$")
    pixels: int = Field(ge=1)
    share: float = Field(ge=0, le=1, description="Share of all pixels of the image.")
    score: float = Field(ge=0, le=1, description="Mean probability of the class over its pixels.")
    confidence: float | None = Field(ge=0, le=1, description="Mean confidence over its pixels; null where the model cannot tell it.")


class Ignored(BaseModel):
    """Pixels whose class a person has chosen to ignore; 255 in the index PNG."""

    pixels: int = Field(ge=0)
    share: float = Field(ge=0, le=1)


class Abstained(BaseModel):
    """Pixels that were given no class because their confidence is below the threshold asked for; 255 in the index PNG."""

    below: float = Field(ge=0, le=1, description="The threshold.")
    pixels: int = Field(ge=0)
    share: float = Field(ge=0, le=1)


class Timing(BaseModel):
    """Where the time went, in milliseconds."""

    queue: float = Field(ge=0, description="Waiting for a turn.")
    decode: float = Field(ge=0, description="Reading the image.")
    segment: float = Field(ge=0, description="Backbone, clusters and CRF.")


class SegmentSummary(BaseModel):
    """The summary of a segmented image; classes come largest first, absent ones are left out."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "width": 640,
                "height": 427,
                "model": "default",
                "granularity": 27,
                "classes": [
                    {"id": 3, "name": "class 3", "color": "#4daf4a", "pixels": 163968, "share": 0.6, "score": 0.93, "confidence": 0.91},
                    {"id": 0, "name": "class 0", "color": "#377eb8", "pixels": 109312, "share": 0.4, "score": 0.88, "confidence": 0.64},
                ],
                "ignored": {"pixels": 0, "share": 0.0},
                "confidence": 0.802,
                "familiarity": 0.47,
                "abstained": {"below": 0.5, "pixels": 0, "share": 0.0},
                "timing_ms": {"queue": 0.1, "decode": 6.2, "segment": 412.7},
            }
        }
    )

    width: int = Field(ge=1)
    height: int = Field(ge=1)
    model: str
    granularity: int = Field(ge=1, description="Number of classes the model was cut into for this answer, found here or not.")
    classes: list[ClassArea]
    ignored: Ignored
    confidence: float | None = Field(
        ge=0, le=1, description="Mean confidence of the pixels that were given a class, before any was withheld; null where the model cannot tell it."
    )
    familiarity: float | None = Field(
        ge=0,
        le=1,
        description="Share of the images of training that are less familiar; near 0 for an outlier. Null where the model cannot tell it.",
    )
    abstained: Abstained | None = Field(description="What was withheld; null unless `abstain` was given.")
    timing_ms: Timing


class ModelEntry(BaseModel):
    """One model in the list."""

    name: str
    default: bool
    classes: int = Field(description="Number of classes unless a request asks for another.")
    max_classes: int
    confidence: bool = Field(description="Whether the model's file holds what confidence is told from.")


class ModelList(BaseModel):
    """The models on offer, the default one first."""

    models: list[ModelEntry]


class ModelClass(BaseModel):
    """One class of a model at its own granularity."""

    id: int
    name: str
    color: str
    share: float = Field(description="Share of the patches the model was clustered on.")


class ModelDetail(ModelEntry):
    """A model with its classes and what is known of its making."""

    class_table: list[ModelClass]
    info: dict[str, Any]


class Alive(BaseModel):
    """The process answers."""

    status: str


class Health(Alive):
    """State of the service."""

    models: list[str]
    pending: int = Field(ge=0, description="Images waiting or being worked on.")


class ErrorDetail(BaseModel):
    """What went wrong."""

    code: str
    message: str = Field(description="One line for a person.")
    field: str | None = None
    request_id: str | None = None


class ErrorBody(BaseModel):
    """The body of every answer other than success."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"error": {"code": "not_an_image", "message": "image: not an image file that can be read", "field": "image", "request_id": "5f1c0e"}}
        }
    )

    error: ErrorDetail
