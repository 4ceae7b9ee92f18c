"""The data engine: out of a pool of images, those worth training on."""

from pretrain.curate.outcome import Outcome
from pretrain.curate.run import curate
from pretrain.curate.settings import CurateSettings, make_settings

__all__ = ["CurateSettings", "Outcome", "curate", "make_settings"]
