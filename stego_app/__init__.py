"""Unsupervised semantic segmentation: images in, data-set-consistent pixel classes out.

>>> from stego_app import Segmenter
>>> segmenter = Segmenter.load("default")
>>> result = segmenter(image)            # (H, W, 3) uint8 RGB
>>> result.labels, result.names, result.overlay()
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.errors import StegoError
    from stego_app.images import read_image
    from stego_app.segmentation import Segmentation
    from stego_app.segmenter import Segmenter
    from stego_app.training_run import TrainConfig, train_segmenter

__version__ = "0.1.0"

LARGEST_SEED = 2**31 - 1
"""What every library that is seeded takes: faiss' are 32 bits with a sign, scikit-learn's without."""

# ONNX Runtime tells its makers about machines and models from its import on, unless this is set before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Names resolve on first use, so that `import stego_app` (and `stego --help`) does not import torch.
_HOMES = {
    "Segmentation": "stego_app.segmentation",
    "Segmenter": "stego_app.segmenter",
    "StegoError": "models.errors",
    "TrainConfig": "stego_app.training_run",
    "read_image": "stego_app.images",
    "train_segmenter": "stego_app.training_run",
}

__all__ = ["Segmentation", "Segmenter", "StegoError", "TrainConfig", "__version__", "read_image", "train_segmenter"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'stego_app' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
