"""A tiny real segmenter file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from models.backbone import Backbone

FINE = 6


def write_model(path: Path, backbone: Backbone, seed: int = 0) -> Path:
    """A segmenter file with a tiny random backbone and random clusters: 6 fine clusters, 4 classes."""
    import torch

    from models.head import SegmentationHead
    from stego_app.clusters import ClusterModel
    from stego_app.segmenter_file import SegmenterModel, SegmenterSettings, save_segmenter

    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = SegmentationHead(8, 4)
    directions = torch.nn.functional.normalize(torch.randn(FINE, 4, generator=generator), dim=1)
    merges = np.array([[0, 1], [2, 3], [6, 7], [4, 8], [5, 9]], dtype=np.int64)
    metric = torch.randn(backbone.dim, 8, generator=generator)
    clusters = ClusterModel(torch.zeros(backbone.dim), metric, head.eval(), directions, 0.1, merges, 4)
    save_segmenter(path, SegmenterModel(backbone, "tiny", clusters, np.full(FINE, 1 / FINE), SegmenterSettings(resolution=64)))
    return path
