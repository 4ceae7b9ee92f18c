"""Patch features of a folder of images: extraction, the cache on disk, nearest images."""

from stego_app.features.cache import Failure, FeatureCache, NothingReadError
from stego_app.features.extract import Resolution, device_of, extract_features, precision_of, resize_for_backbone
from stego_app.features.neighbours import nearest_images

__all__ = [
    "Failure",
    "FeatureCache",
    "NothingReadError",
    "Resolution",
    "device_of",
    "extract_features",
    "nearest_images",
    "precision_of",
    "resize_for_backbone",
]
