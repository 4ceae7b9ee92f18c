"""Fixtures shared by all rooms: a tiny random ViT and a folder of generated, textured images."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# Many tests start `stego` anew; where nobody keeps bytecode, each of them would compile two thousand files.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores; before NumPy and torch are loaded
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from models.backbone import Backbone, BackboneSpec, build_vit

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a suite that a shell runs in the background; the processes it interrupts would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)

TINY_SPEC = BackboneSpec("vit_tiny_patch16_224", depth=1, block=0, patch_size=16, dim=192, grid=14, method="random")


def textured_image(height: int, width: int, seed: int) -> npt.NDArray[np.uint8]:
    """An (H, W, 3) uint8 picture of three regions, alike in all images: plain blue, green stripes, red and yellow checks."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.empty((height, width, 3), np.float64)
    image[:] = (90, 140, 220)
    ground = rows > height * random.uniform(0.35, 0.6)
    stripes = np.where((columns + rows) // 3 % 2, 1.0, 0.55)[..., None]
    image[ground] = (np.array([60, 170, 50]) * stripes)[ground]
    left, top = random.uniform(0.1, 0.5) * width, random.uniform(0.2, 0.4) * height
    box = (columns > left) & (columns < left + 0.4 * width) & (rows > top) & (rows < top + 0.4 * height)
    checks = np.where(((columns // 5 + rows // 5) % 2)[..., None], (200, 50, 40), (230, 210, 60))
    image[box] = checks[box]
    return np.clip(image + random.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def tiny_backbone() -> Backbone:
    """A one-block ViT with patch 16 and 192 channels, random but the same in every run. Do not change its weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_vit(TINY_SPEC)
    return Backbone(network, TINY_SPEC).eval()


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """A folder of six textured PNGs of three sizes, one of them in a sub-folder."""
    root = tmp_path / "images"
    (root / "more").mkdir(parents=True)
    sizes = [(64, 96), (64, 96), (96, 64), (64, 96), (80, 80), (64, 96)]
    for number, (height, width) in enumerate(sizes):
        name = f"more/photo{number}.png" if number == 5 else f"photo{number}.png"
        Image.fromarray(textured_image(height, width, number)).save(root / name)
    return root
