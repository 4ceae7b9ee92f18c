"""Packed multi-crop against separate passes, and against bare timm: processor time of forward and backward of one step, a markdown table.

usage: python benchmarks/packed_crops.py [--architecture vit_tiny_patch16_224] [--image-size 32] [--patch-size 4] [--depth 4] [--batch 8] [--rounds 5]

Two global and eight local crops of each image, as in DINOv2; rounds are interleaved and the best of each counts. "one pass a crop" forwards
every crop alone, "one pass a size" global and local crops apart, "packed" all together. "bare timm" is timm's own ViT on the global crops
and on the local ones: what the masking, normalising and packing of this project come on top of.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

GLOBAL, LOCAL = 2, 8


def main() -> None:
    """Print the table."""
    from benchmarks.speed.row import race
    from pretrain.encoder import build_encoder
    from pretrain.packing import packed_forward
    from pretrain.settings import make_pretrain_config
    from stego_app.features import precision_of

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="vit_tiny_patch16_224")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--patch-size", type=int, default=4)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lowered = precision_of("auto", torch.device("cpu")) == "bf16"
    shape = {name: getattr(options, name) for name in ("architecture", "image_size", "patch_size", "depth")}
    encoder = build_encoder(make_pretrain_config(method="dinov2", data=(Path(),), out=Path("none"), **shape))
    small = max(1, options.image_size * 3 // 7 // options.patch_size) * options.patch_size
    crops = [torch.randint(0, 256, (options.batch, 3, side, side), dtype=torch.uint8) for side in [options.image_size] * GLOBAL + [small] * LOCAL]
    groups = [torch.cat(crops[:GLOBAL]), torch.cat(crops[GLOBAL:])]
    ready = [encoder.normalise(group) for group in groups]
    ways: dict[str, Callable[[], list[torch.Tensor]]] = {
        "one pass a crop": lambda: [encoder(crop) for crop in crops],
        "one pass a size": lambda: [encoder(group) for group in groups],
        "packed": lambda: packed_forward(encoder, groups),
        "bare timm": lambda: [encoder.network.forward_features(group) for group in ready],
    }

    def step(forward: Callable[[], list[torch.Tensor]]) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=lowered):
            tokens = forward()
        torch.stack([one.float().square().mean() for one in tokens]).sum().backward()

    laps = race({name: partial(step, forward) for name, forward in ways.items()}, options.rounds, warm=False)
    views = f"{options.batch} images, crops of {options.image_size} and {small} px, patch {options.patch_size}"
    print(f"{options.architecture}, {options.depth} blocks, {views}, one thread\n")
    print("| crops | ms a step | of one pass a crop |\n|---|---|---|")
    for name, lap in laps.items():
        print(f"| {name} | {1000 * lap.processor:.0f} | {lap.processor / laps['one pass a crop'].processor:.2f} |")


if __name__ == "__main__":
    main()
