"""Settings of one curation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.errors import StegoError
from stego_app.settings import checked

SMALL_SET = 100
"""A curated set of fewer images is small: its nearest images alone would be too few, so its clusters are sampled."""

Method = Literal["auto", "nearest", "clusters", "balanced", "all"]

_BELONGS_TO: dict[str, tuple[Method, ...]] = {
    "nearest": ("nearest",),
    "per_cluster": ("clusters",),
    "clusters": ("clusters",),
    "images": ("nearest", "clusters", "balanced"),
}
"""The methods that a setting means something to."""


class CurateSettings(BaseModel):
    """What to make of which images.

    Attributes:
        pool: folders, images and @lists to choose from.
        out: the list to write; report, table of removals and numbers lie beside it.
        like: a curated set, whose like is wanted.
        not_like: evaluation sets, whose images must not be in the list.
        method: "nearest" (``nearest`` images for each curated one), "clusters" (``per_cluster`` images of each k-means cluster
            that holds a curated one), "balanced" (``images`` spread evenly by hierarchical k-means), "all" (without the
            near-duplicates), or "auto": the first two if there is a curated set of at least, or fewer than, `SMALL_SET` images,
            else "balanced" if ``images`` is given, else "all".
        nearest: images for each curated image.
        per_cluster: images of each cluster, at most.
        clusters: of the pool; the square root of its size if None.
        images: at most so many in the list.
        keep_duplicates: leave near-duplicates within the pool in.
        with_like: begin the list with the curated images themselves, but for those that resemble ``not_like``.
        similarity: from which two images are near-duplicates; learnt from the pool if None.
        backbone: a name or path, as `models.backbone_sources.load_backbone` takes it.
        resolution: side in pixels at which images are looked at.
        probes: images of the pool of which copies are made to learn the threshold.
        shown: groups and curated images in the report, at most.
        cache: folder of descriptors; the user's cache folder if None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pool: tuple[str, ...] = Field(min_length=1)
    out: Path
    like: tuple[str, ...] = ()
    not_like: tuple[str, ...] = ()
    method: Method = "auto"
    nearest: int = Field(default=4, ge=1)
    per_cluster: int = Field(default=100, ge=1)
    clusters: int | None = Field(default=None, ge=1)
    images: int | None = Field(default=None, ge=1)
    keep_duplicates: bool = False
    with_like: bool = False
    similarity: float | None = Field(default=None, gt=0, le=1)
    backbone: str = "default"
    resolution: int = Field(default=224, ge=14)
    probes: int = Field(default=100, ge=20)
    shown: int = Field(default=30, ge=0)
    batch_size: int = Field(default=16, ge=1)
    device: str = "auto"
    seed: int = Field(default=0, ge=0)
    cache: Path | None = None

    def chosen_method(self, curated: int) -> Method:
        """The method that "auto" stands for, given the number of ``curated`` images.

        Raises:
            StegoError: a method that lacks what it needs, or an option that means nothing to it.
        """
        if self.with_like and not curated:
            raise StegoError("--with-like: needs a curated set; give one with --like")
        method = self._of_auto(curated) if self.method == "auto" else self.method
        if method in ("nearest", "clusters") and not curated:
            raise StegoError(f"--method {method}: needs a curated set; give one with --like")
        if method == "balanced" and self.images is None:
            raise StegoError("--method balanced: needs the number of images wanted; give it with --images")
        for name, methods in _BELONGS_TO.items():
            if name in self.model_fields_set and getattr(self, name) is not None and method not in methods:
                owners = " or ".join(filter(None, (", ".join(methods[:-1]), methods[-1])))
                raise StegoError(f"--{name.replace('_', '-')}: means nothing to --method {method}; it belongs to {owners}")
        return method

    def _of_auto(self, curated: int) -> Method:
        if curated:
            return "nearest" if curated >= SMALL_SET else "clusters"
        return "balanced" if self.images else "all"


def make_settings(**fields: Any) -> CurateSettings:
    """Checked settings.

    Raises:
        StegoError: names the first field that is wrong and what was expected.
    """
    return checked(CurateSettings, fields, "curation setting")
