"""Settings of batch labelling."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from stego_app.crf import CrfSettings

FORMAT = 1
"""Raised when the same model and settings would give other labels than before, so that folders are labelled anew."""

STEADY_SECONDS = 0.3
"""What a clip's classes are averaged over: of the memories tried, the shortest that halves flicker (docs/video.md); longer ones blur what moves."""

# What decides how fast the work goes, but not what comes out.
_SPEED_ONLY = {"batch_size", "jobs", "overlays", "confidence", "formats"}


class LabelSettings(BaseModel):
    """How to label a folder. None means the segmenter's own value, or one process a core for ``jobs``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: int | None = Field(default=None, ge=1, le=255, description="number of classes")
    crf: bool = Field(default=True, description="refine edges with a dense CRF")
    flip: bool = Field(default=False, description="average with the mirrored image")
    resolution: int | None = Field(default=None, ge=1, description="short side for the backbone, in pixels")
    window: int | None = Field(default=None, ge=0, description="side of overlapping windows in pixels, 0 to see each image whole")
    abstain: float | None = Field(default=None, ge=0, le=1, description="give no class where confidence is below this")
    confidence: bool = Field(default=False, description="also write the confidence of each pixel")
    tile: int | None = Field(default=None, ge=0, description="side of the tiles of large TIFFs in pixels, each seen as an image; 0 for none; chosen if None")
    overlays: bool = Field(default=False, description="also write the colours over the pictures")
    formats: tuple[str, ...] = Field(default=(), description="also write the label maps in these formats, by name")
    steady: float = Field(default=STEADY_SECONDS, ge=0, le=60, description="seconds over which clips are averaged along their motion; 0 for each frame alone")
    batch_size: int = Field(default=4, ge=1, description="images a forward pass")
    jobs: int | None = Field(default=None, ge=1, description="processes for the CRF and the writing")
    crf_settings: CrfSettings = CrfSettings()

    @property
    def seeing(self) -> dict[str, Any]:
        """What a segmenter is told of how to see images, by the names of its arguments."""
        return {"classes": self.classes, "flip": self.flip, "resolution": self.resolution, "window": self.window}

    @property
    def asks_confidence(self) -> bool:
        """Whether the segmenter must be able to tell confidence."""
        return self.confidence or self.abstain is not None

    def digest(self) -> str:
        """16 hex digits of everything here that the labels depend on."""
        unused = (set() if self.crf else {"crf_settings"}) | {name for name in ("abstain", "tile") if getattr(self, name) is None}
        if self.steady == STEADY_SECONDS:  # images do not depend on it: their folders are not labelled anew
            unused.add("steady")
        values = self.model_dump(exclude=_SPEED_ONLY | unused)
        return hashlib.sha256(json.dumps([FORMAT, values], sort_keys=True).encode()).hexdigest()[:16]
