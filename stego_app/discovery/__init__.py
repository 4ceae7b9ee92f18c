"""Discovery of classes: correspondence distillation without shifts."""

from stego_app.discovery.crop_pairs import CropPairs, collect_crop_pairs
from stego_app.discovery.discover import Discovery, discover
from stego_app.discovery.settings import DiscoverySettings
from stego_app.discovery.source import TokenSource

__all__ = ["CropPairs", "Discovery", "DiscoverySettings", "TokenSource", "collect_crop_pairs", "discover"]
