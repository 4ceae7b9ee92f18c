"""Settings of the dense CRF, stated for a standard image size and scaled to the image at hand."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from models.errors import StegoError

REFERENCE_SIDE = 320
"""Short side in pixels for which the settings' lengths are meant: STEGO's crops (Hamilton et al. 2022, appendix)."""


@dataclass(frozen=True)
class Kernels:
    """The two pairwise kernels in pixels and grey levels: weights and standard deviations."""

    spatial_weight: float
    spatial_sigma: float
    bilateral_weight: float
    bilateral_sigma_xy: float
    bilateral_sigma_rgb: float


class CrfSettings(BaseModel):
    """The energy of Krähenbühl & Koltun (2011), equation 3, and how long to minimise it. Defaults are STEGO's.

    Lengths are in pixels of an image whose short side is `REFERENCE_SIDE` and scale with the image, so that one
    setting means the same for all sizes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: int = Field(default=10, ge=0, le=1000, description="mean-field updates")
    spatial_weight: float = Field(default=3.0, ge=0, le=10, description="weight of the smoothness kernel")
    spatial_sigma: float = Field(default=1.0, gt=0, le=1000, description="its standard deviation")
    bilateral_weight: float = Field(default=4.0, ge=0, le=10, description="weight of the appearance kernel")
    bilateral_sigma_xy: float = Field(default=67.0, ge=1, le=10_000, description="its standard deviation over distance")
    bilateral_sigma_rgb: float = Field(default=3.0, ge=0.5, le=1000, description="its standard deviation over colour, in grey levels of 0 to 255")
    max_side: int = Field(default=320, ge=32, description="long side at which the CRF runs; larger images are reduced to it")

    def scaled(self, strength: float) -> CrfSettings:
        """The same with both weights times ``strength``, 0 to 2: 1 leaves them as they are.

        Raises:
            StegoError: ``strength`` is out of range.
        """
        if not 0 <= strength <= 2:
            raise StegoError(f"crf {strength}: expected a strength of 0 (off) to 2; 1 is the usual one")
        return self.model_copy(update={"spatial_weight": self.spatial_weight * strength, "bilateral_weight": self.bilateral_weight * strength})

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """The size (H, W) at which the CRF runs for an image: its own, or reduced to `max_side`."""
        scale = min(1.0, self.max_side / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def kernels(self, height: int, width: int) -> Kernels:
        """The kernels for an image of this size."""
        scale = min(height, width) / REFERENCE_SIDE
        return Kernels(
            self.spatial_weight,
            _scaled(self.spatial_sigma, scale),
            self.bilateral_weight,
            _scaled(self.bilateral_sigma_xy, scale),
            self.bilateral_sigma_rgb,
        )


def _scaled(sigma: float, scale: float) -> float:
    """Never reduced below a pixel: a narrower Gaussian would not reach the neighbours."""
    return max(sigma * scale, min(sigma, 1.0))
