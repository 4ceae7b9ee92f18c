"""Options of a request, given in the query, as form fields or in JSON; those of a segmentation request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.errors import ApiError
from api.negotiation import Form

Options = TypeVar("Options", bound=BaseModel)


class SegmentOptions(BaseModel):
    """What a client may choose for one image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: int | None = Field(default=None, ge=1, description="Number of classes (granularity), from 1 to the model's maximum; the model's own if absent.")
    crf: bool = Field(default=True, description="Sharpen borders with a dense CRF; false is faster.")
    flip: bool = Field(default=False, description="Average with the mirrored image; slower, a little more accurate.")
    alpha: float = Field(default=0.5, ge=0.0, le=1.0, description="Opacity of the colours in an overlay, 0 to 1.")
    fade: float = Field(default=0.0, ge=0.0, le=1.0, description="How far an overlay fades pixels that are uncertain, 0 (not at all) to 1.")
    abstain: float | None = Field(default=None, ge=0.0, le=1.0, description="Give no class (255) where confidence is below this, 0 to 1; never if absent.")
    format: Form | None = Field(default=None, description="Form of the answer; wins over `Accept`.")
    model: str | None = Field(default=None, min_length=1, max_length=64, description="Name of a model from `/v1/models`; the default one if absent.")


def parse_options(kind: type[Options], query: Iterable[tuple[str, str]], fields: Iterable[tuple[str, Any]]) -> Options:
    """Options of ``kind`` from query parameters and from form fields or the members of a JSON object, together.

    Raises:
        ApiError: 422 that names the option: unknown, given twice, missing, or with a value out of range.
    """
    given: dict[str, Any] = {}
    for name, value in (*query, *fields):
        if name not in kind.model_fields:
            raise ApiError(422, "unknown_option", f"'{name[:40]}' is not an option; expected {', '.join(kind.model_fields)}", field=name[:40])
        if name in given:
            raise ApiError(422, "invalid_option", f"{name}: given more than once", field=name)
        given[name] = value
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        got = "" if first["type"] == "missing" else f" (got '{str(first['input'])[:40]}')"
        raise ApiError(422, "invalid_option", f"{field}: {first['msg']}{got}", field=field) from error
