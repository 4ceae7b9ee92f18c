"""The requests of X-AnyLabeling's remote-server client, after the public description of its server's interface.

The client is given one address and asks for ``/v1/models`` and ``/v1/predict`` below it. Its own address here is
``…/xanylabeling``. The plain address of the service works too: what is asked for there is told by the ``Token`` header
that the client always sends (`XAnyLabelingPaths`), since ``/v1/models`` has another form for everybody else.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Receive, Scope, Send

from api.dialects.polygons import MAX_FINENESS

PREFIX = "/xanylabeling"

_WIDGETS = (
    {"name": "button_run", "value": None},
    {"name": "input_conf", "value": None},
    {"name": "edit_conf", "value": 0.0},
    {"name": "mask_fineness_slider", "value": 10},
    {"name": "mask_fineness_value_label", "value": None},
    {"name": "toggle_preserve_existing_annotations", "value": False},
)
_OURS_ALONE = re.compile(r"/v1/predict|/v1/models/[^/]+/info")


class Params(BaseModel):
    """What the client's sliders say; others are let pass."""

    conf_threshold: float = Field(default=0.0, ge=0, le=1, description="Classes with a lower score are left out.")
    epsilon_factor: float = Field(default=0.001, ge=0, le=MAX_FINENESS, description="How far polygons may stray, as a share of their circumference.")


class PredictRequest(BaseModel):
    """One image to label."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"model": "default", "image": "data:image/jpeg;base64,…", "params": {"conf_threshold": 0.3, "epsilon_factor": 0.001}}}
    )

    model: str
    image: str = Field(description="The image file in base64, plain or as a data: URI.")
    params: Params = Params()


class Shape(BaseModel):
    """A polygon and its label."""

    label: str
    shape_type: str
    points: list[tuple[float, float]]
    score: float = Field(ge=0, le=1)


class Shapes(BaseModel):
    """What was found, largest first."""

    shapes: list[Shape]
    description: str = ""


class Predicted(BaseModel):
    """The answer to an image."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "success": True,
                "data": {"shapes": [{"label": "sky", "shape_type": "polygon", "points": [[0, 0], [9, 0], [9, 4]], "score": 0.9}], "description": ""},
            }
        }
    )

    success: bool = True
    data: Shapes


class Listed(BaseModel):
    """Models by name, with the controls that the client shows for each."""

    model_config = ConfigDict(json_schema_extra={"example": {"success": True, "data": {"default": {"display_name": "stego: default"}}}})

    success: bool = True
    data: dict[str, Any]


class Healthy(BaseModel):
    """The service takes images."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "healthy", "models_loaded": 1, "timestamp": "2026-01-31T12:00:00Z"}})

    status: str
    models_loaded: int
    timestamp: str


class Failed(BaseModel):
    """The form of errors of this interface, with a status that says the same."""

    success: bool = False
    error: dict[str, Any]


def described(name: str, classes: int) -> dict[str, Any]:
    """What the client is told of a model, which gives so many ``classes``."""
    return {
        "display_name": f"stego: {name}",
        "widgets": [dict(widget) for widget in _WIDGETS],
        "params": {"classes": classes},
        "capabilities": {},
        "batch_processing_mode": "default",
    }


class XAnyLabelingPaths:
    """ASGI layer that leads the client's requests at the service's plain address to the dialect's own paths."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _is_meant(scope):
            path = PREFIX + scope["path"]
            scope["path"], scope["raw_path"] = path, path.encode("utf-8", "surrogateescape")
        await self._app(scope, receive, send)


def _is_meant(scope: Scope) -> bool:
    path = scope["path"]
    if path == "/v1/models":
        return scope["method"] == "GET" and any(name == b"token" for name, _ in scope["headers"])
    return _OURS_ALONE.fullmatch(path) is not None
