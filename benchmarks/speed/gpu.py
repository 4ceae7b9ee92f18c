"""What a GPU reaches: the backbone as a share of the card's arithmetic, and the CRF beside the C++ on a core. Not measured where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.crf import load, rough_probabilities, square
from benchmarks.speed.crf import CLASSES, SIDE, beside_cpp
from benchmarks.speed.row import Row, race
from models.backbone import Backbone, BackboneSpec, build_vit
from stego_app.crf import available_engines
from stego_app.runtime.torch_tokens import TorchTokens

NO_GPU = "torch sees no GPU"
VIT_B = BackboneSpec("vit_base_patch14_dinov2", depth=12, block=11, patch_size=14, dim=768, grid=37)
BATCH, PIXELS = 64, 448
LARGEST = 16384
"""Side of the matrices whose product says what the card reaches."""


def gpu_backbone(_images: Path | None, rounds: int, device: str = "cuda", batch: int = BATCH, pixels: int = PIXELS, largest: int = LARGEST) -> Row | str:
    """ViT-B/14 in bfloat16 with fused attention, random weights, beside as many operations of one large product of matrices."""
    if device == "cuda" and not torch.cuda.is_available():
        return NO_GPU
    tokens = TorchTokens(Backbone(build_vit(VIT_B), VIT_B).to(device).eval(), lowered=True)
    images = torch.rand(batch, 3, pixels, pixels, device=device)
    left, right = torch.rand(2, largest, largest, device=device, dtype=torch.bfloat16)
    with FlopCounterMode(display=False) as counter:
        tokens(images)
    laps = race({"backbone": _finished(lambda: tokens(images), device), "product": _finished(lambda: left @ right, device)}, rounds)
    reachable = counter.get_total_flops() * laps["product"].wall / (2 * largest**3)
    seconds = laps["backbone"].wall
    what = f"ViT-B/14, {batch} images of {pixels}² / as many operations of a product of matrices of {largest}²"
    done = f"{counter.get_total_flops() / seconds / 1e12:.2f} Tflop/s, {batch / seconds:.1f} images a second"
    return Row("backbone on a GPU", what, seconds, reachable, 0.6, done, "wall")


def gpu_crf(images: Path | None, rounds: int, device: str = "cuda") -> Row | str:
    """One photo, all classes in it."""
    if device == "cuda" and not torch.cuda.is_available():
        return NO_GPU
    if "pydensecrf" not in available_engines():
        return "pydensecrf2 is not installed: uv sync --extra crf"
    image = square(load(images, 1)[0], SIDE)
    probabilities = rough_probabilities(image, CLASSES, 6, seed=0)
    laps, equal = beside_cpp(image, probabilities, f"torch:{device}", rounds)
    what = f"one photo at {SIDE}², {CLASSES} classes / pydensecrf2 on a core"
    return Row("CRF on a GPU", what, laps["ours"].wall, laps["C++"].wall, 5, equal, "wall")


def _finished(task: Callable[[], torch.Tensor], device: str) -> Callable[[], None]:
    """``task`` until the device has done it."""

    def run() -> None:
        task()
        if device == "cuda":
            torch.cuda.synchronize()

    return run
