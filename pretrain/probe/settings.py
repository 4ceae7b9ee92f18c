"""Settings of one probe."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.backbone import Backbone
from stego_app.settings import checked

Kind = Literal["auto", "classes", "dense"]
DENSE_PATCHES = 24
"""Patches on the short side at which label maps are probed."""
CLASS_SIDE = 224


class ProbeSettings(BaseModel):
    """What to probe, and on what.

    Attributes:
        backbone: a name or path, as `models.backbone_sources.load_backbone` takes it.
        data: class folders, ``train.tar`` and ``test.tar`` of such, or a data set with label maps.
        out: folder for the table, JSON and pictures.
        kind: "classes", "dense", or "auto": label maps where there are some, else classes.
        block: whose tokens are probed; the backbone's own choice if None.
        resolution: pixels of the side (classes) or the short side (dense); 224, or what the backbone was trained at if that
            is less, and 24 patches, if None.
        layout, labels: see `stego_app.data.open_dataset`.
        limit: at most so many images of either split.
        pictures: images in each picture; 0 for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str
    data: Path
    out: Path = Path("stego-probe")
    kind: Kind = "auto"
    block: int | None = Field(default=None, ge=0)
    resolution: int | None = Field(default=None, ge=1)
    layout: str = "auto"
    labels: Path | None = None
    limit: int | None = Field(default=None, ge=2)
    pictures: int = Field(default=6, ge=0, le=32)
    batch_size: int = Field(default=16, ge=1)
    device: str = "auto"
    seed: int = Field(default=0, ge=0)
    cache: Path | None = None

    def class_resolution(self, backbone: Backbone) -> int:
        """Side of the square at which whole images are looked at."""
        return self.resolution or min(CLASS_SIDE, backbone.spec.grid * backbone.patch_size)

    def dense_resolution(self, backbone: Backbone) -> int:
        """Short side at which patches are looked at."""
        return self.resolution or DENSE_PATCHES * backbone.patch_size


def make_settings(**fields: Any) -> ProbeSettings:
    """Checked settings.

    Raises:
        StegoError: names the first field that is wrong and what was expected.
    """
    return checked(ProbeSettings, fields, "probe setting")
