"""Settings of the discovery of classes: one set of values for every data set."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class DiscoverySettings(BaseModel):
    """The defaults are the recipe; every data set is meant to be run with them.

    Attributes:
        codes: M, entries of the codebook on which correspondences are counted.
        bank: patches among which correspondences are looked for; the work grows with its square, memory with it alone.
        draws: discoveries from other patches and starts, of which the one is kept that agrees most with the others; all vote on its codes.
        miss_rate: share of pairs of the *same* point in two views that may fall below the similarity from which two
            patches of different images count as corresponding. It sets that similarity, whatever the backbone.
        adjacent_weight: weight of correspondences between adjacent patches, beside those between images.
        whitening_floor: part of the mean eigenvalue that is added to each eigenvalue before it is inverted.
        adjacent_images: images from which adjacent patches are counted.
        fine: F, fine clusters kept beneath the classes (never fewer than the classes, never more than codes).
        head: "segmentation", trained by cosine on the codes, or "lookup", which needs no training.
        lookup_sharpness: factor on the cosine in the softmax of the lookup.
        steps, batch, rate: of the training of the head.
        head_tokens: patches from which the head learns.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    codes: int = Field(default=512, ge=2, le=32_767)
    bank: int = Field(default=40_000, ge=2)
    draws: int = Field(default=3, ge=1)
    miss_rate: float = Field(default=0.05, gt=0, lt=1)
    adjacent_weight: float = Field(default=0.3, ge=0)
    whitening_floor: float = Field(default=0.01, gt=0)
    adjacent_images: int = Field(default=500, ge=1)
    fine: int = Field(default=64, ge=1)
    head: Literal["segmentation", "lookup"] = "segmentation"
    lookup_sharpness: float = Field(default=20.0, gt=0)
    steps: int = Field(default=300, ge=1)
    batch: int = Field(default=1024, ge=1)
    rate: float = Field(default=2e-3, gt=0)
    head_tokens: int = Field(default=100_000, ge=2)
