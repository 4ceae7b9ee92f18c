"""What a client may choose for a job, in the query or as form fields."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.model_folder import NAME_PATTERN
from stego_app import LARGEST_SEED


class LabelOptions(BaseModel):
    """Options of ``POST /v1/jobs``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = Field(default=None, min_length=1, max_length=64, description="Name of a model from `/v1/models`; the default one if absent.")
    classes: int | None = Field(default=None, ge=1, le=255, description="Number of classes (granularity); the model's own if absent.")
    crf: bool = Field(default=True, description="Sharpen borders with a dense CRF; false is faster.")
    flip: bool = Field(default=False, description="Average with the mirrored image; slower, a little more accurate.")
    overlays: bool = Field(default=True, description="Also write the colours over the pictures.")
    confidence: bool = Field(default=False, description="Also write the confidence of each pixel.")
    abstain: float | None = Field(default=None, ge=0, le=1, description="Give no class (255) where confidence is below this; never if absent.")
    formats: str | None = Field(
        default=None,
        max_length=200,
        pattern=r"^[a-z0-9-]+(,[a-z0-9-]+)*$",
        description="Also write the label maps in these formats, by the names of `stego label --format` and with commas between, e.g. `coco,yolo`.",
    )


class FitOptions(BaseModel):
    """Options of ``POST /v1/fit``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=rf"^{NAME_PATTERN}$", description="What the new model is to be called.")
    method: Literal["cluster", "train"] = Field(
        default="cluster", description="`cluster` finds classes in closed form, in a minute or two; `train` also trains a head and writes a report."
    )
    classes: int | None = Field(default=None, ge=1, le=255, description="How many classes; found from the images if absent.")
    resolution: int | None = Field(
        default=None, ge=28, le=4096, description="Short side for the backbone in pixels; what the images ask for, 224 or 448, if absent."
    )
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED, description="The same seed gives the same model on the same machine.")
