"""The fully connected CRF that snaps segments to the edges of an image. Torch is loaded for its GPU path alone, so worker processes start quickly."""

from stego_app.crf.engine import available_engines, refine
from stego_app.crf.pool import CrfPool
from stego_app.crf.settings import CrfSettings, Kernels

__all__ = ["CrfPool", "CrfSettings", "Kernels", "available_engines", "refine"]
