"""Parts that tests of jobs share: small archives, a tiny real segmenter file, and waiting."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from models.backbone import Backbone

FINE = 6


def picture(seed: int, height: int = 48, width: int = 64) -> bytes:
    """A PNG of a plain sky over a striped ground, with some noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    ground = np.where((columns + rows) // 3 % 2, 160, 90)[..., None] * np.array([0.4, 1.0, 0.3])
    image = np.where((rows > height * random.uniform(0.3, 0.7))[..., None], ground, (90, 140, 220)) + random.normal(0, 6, (height, width, 3))
    buffer = BytesIO()
    Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def archive(files: Mapping[str, bytes], *, packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these files."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as target:
        for name, data in files.items():
            target.writestr(name, data)
    return buffer.getvalue()


def photos(count: int) -> dict[str, bytes]:
    """Pictures, half of them in a sub-folder."""
    return {f"{'more/' if number % 2 else ''}photo{number:03}.png": picture(number) for number in range(count)}


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


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something to come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)
