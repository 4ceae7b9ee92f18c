"""The JSON that the service sends, as pydantic models: one source for answers and OpenAPI."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue


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
    abstained: Abstained | None = Field(description="What was withheld; null unless `abstain` was given.")
    timing_ms: Timing


_ENTRY: dict[str, JsonValue] = {"name": "default", "default": True, "classes": 27, "max_classes": 64, "confidence": True, "editable": False, "removable": False}


class ModelEntry(BaseModel):
    """One model in the list."""

    name: str
    default: bool
    classes: int = Field(description="Number of classes unless a request asks for another.")
    max_classes: int
    confidence: bool = Field(description="Whether the model's file holds what confidence is told from.")
    editable: bool = Field(description="Whether its classes can be edited in place; otherwise with `save_as`.")
    removable: bool = Field(description="Whether it can be renamed and removed.")


class ModelList(BaseModel):
    """The models on offer, the default one first."""

    model_config = ConfigDict(json_schema_extra={"example": {"models": [_ENTRY]}})

    models: list[ModelEntry]


class ModelClass(BaseModel):
    """One class of a model at its own granularity."""

    id: int
    name: str
    color: str
    share: float = Field(description="Share of the patches the model was clustered on.")


class ModelDetail(ModelEntry):
    """A model with its classes and what is known of its making."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                **_ENTRY,
                "class_table": [{"id": 0, "name": "sky", "color": "#377eb8", "share": 0.31}],
                "info": {"fingerprint": "5f1c0e92aa31b7d4", "backbone": {"name": "default", "patch_size": 14}, "edits": 1},
            }
        }
    )

    class_table: list[ModelClass]
    info: dict[str, Any]


class CocoSize(BaseModel):
    """A mask in COCO's compressed run-length code; `pycocotools.mask.decode` reads it."""

    size: tuple[int, int] = Field(description="Height and width.")
    counts: str


class CocoAnnotation(BaseModel):
    """One class of the image and where it is."""

    id: int
    image_id: int
    category_id: int = Field(description="The class's value in the index PNG.")
    segmentation: CocoSize
    area: int = Field(ge=1)
    bbox: tuple[int, int, int, int] = Field(description="Left, top, width, height.")
    iscrowd: int = Field(description="1: COCO's word for a region given as run-length code.")
    score: float = Field(ge=0, le=1)


class CocoImage(BaseModel):
    """The image of the request."""

    id: int
    width: int
    height: int
    file_name: str


class CocoCategory(BaseModel):
    """One class of the model, found here or not."""

    id: int
    name: str
    supercategory: str


class CocoDocument(BaseModel):
    """The image as a COCO data set of its own, one annotation a class."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "images": [{"id": 1, "width": 4, "height": 2, "file_name": "image"}],
                "categories": [{"id": 0, "name": "sky", "supercategory": ""}],
                "annotations": [
                    {
                        "id": 1,
                        "image_id": 1,
                        "category_id": 0,
                        "segmentation": {"size": [2, 4], "counts": "08"},
                        "area": 8,
                        "bbox": [0, 0, 4, 2],
                        "iscrowd": 1,
                        "score": 0.93,
                    }
                ],
            }
        }
    )

    images: list[CocoImage]
    categories: list[CocoCategory]
    annotations: list[CocoAnnotation]


class HuggingFaceSegment(BaseModel):
    """One entry of the list that the Hugging Face `image-segmentation` task answers with."""

    model_config = ConfigDict(json_schema_extra={"example": {"label": "sky", "score": 0.93, "mask": "iVBORw0KGgo="}})

    label: str
    score: float = Field(ge=0, le=1)
    mask: str = Field(description="A grey PNG of 0 and 255, in base64.")


class OipServer(BaseModel):
    """Server metadata of the Open Inference Protocol."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "stego", "version": "0.1.0", "extensions": []}})

    name: str
    version: str
    extensions: list[str]


class OipTensor(BaseModel):
    """A tensor's name, type and shape; -1 is any size."""

    name: str
    datatype: str
    shape: list[int]


class OipModel(BaseModel):
    """Model metadata of the Open Inference Protocol."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "default",
                "versions": ["5f1c0e92aa31b7d4"],
                "platform": "stego",
                "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, -1, 3]}],
                "outputs": [{"name": "labels", "datatype": "UINT8", "shape": [-1, -1]}],
            }
        }
    )

    name: str
    versions: list[str] = Field(description="The model's fingerprint, which changes with every edit.")
    platform: str
    inputs: list[OipTensor]
    outputs: list[OipTensor]


class ModelReady(BaseModel):
    """A model takes images."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "default", "ready": True}})

    name: str
    ready: bool


class Alive(BaseModel):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "live"}})

    status: str


class Health(Alive):
    """State of the service."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ready", "models": ["default"], "pending": 0}})

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
