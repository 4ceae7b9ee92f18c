"""Runtimes of the backbone: milliseconds an image, labels kept, mIoU on CamVid.

usage: python benchmarks/runtimes.py --data FOLDER [--model default] [--limit N] [--runtimes torch,onnx,…]

FOLDER holds ``camvid``. Prints the processor and two markdown tables. All runtimes take turns in one process, so that whatever
else the machine does meets them alike: read the ratios, and of them those of processor time where others use the machine. Each
time is the best of ``--rounds`` turns. Labels are compared with torch in float32; mIoU is matched to the labels of the split
(Hungarian), without the CRF, which is the same for all.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.errors import StegoError
from stego_app.data import open_dataset
from stego_app.evaluation import EvaluationSettings, evaluate_segmenter
from stego_app.features.extract import resize_for_backbone
from stego_app.images import read_image
from stego_app.progress import terminal_progress
from stego_app.runtime.opening import available, open_tokens, runtime_precision
from stego_app.runtime.tokens import PatchTokens
from stego_app.segmenter import Segmenter

_CPU = torch.device("cpu")


@dataclass
class Best:
    """The best turn so far, in seconds."""

    wall: float = float("inf")
    processor: float = float("inf")

    def note(self, source: PatchTokens, images: torch.Tensor) -> None:
        """Take one turn."""
        wall, processor = time.perf_counter(), time.process_time()
        source(images)
        self.wall = min(self.wall, time.perf_counter() - wall)
        self.processor = min(self.processor, time.process_time() - processor)


def hardware() -> str:
    """One line on the machine."""
    facts = torch.cpu.get_capabilities()
    known = [name for name in ("avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8") if facts.get(name)]
    name, load = facts.get("cpu_name", platform.processor()), os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return f"{name} with {', '.join(known)}; {torch.get_num_threads()} thread(s), load average {load:.1f}, torch {torch.__version__}"


def times(sources: dict[str, PatchTokens], photos: list[Path], sides: list[int], batches: list[int], rounds: int) -> None:
    """Print the table of times."""
    print("\n| side | batch | runtime | ms an image | processor ms an image | times as fast (wall) | times as fast (processor) |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for side in sides:
        for batch in batches:
            loaded = [resize_for_backbone(read_image(photos[index % len(photos)]), (side, side), sources["torch"].patch_size) for index in range(batch)]
            images = torch.stack(loaded)
            best = {name: Best() for name in sources}
            for turn in range(rounds + 1):
                for name, source in sources.items():
                    if turn == 0:
                        source(images)  # the first run of a shape makes plans
                    else:
                        best[name].note(source, images)
            base = best["torch"]
            for name, found in best.items():
                cells = [1000 * found.wall / batch, 1000 * found.processor / batch]
                ratios = [base.wall / found.wall, base.processor / found.processor]
                print(f"| {side} | {batch} | {name} | {cells[0]:.0f} | {cells[1]:.0f} | {ratios[0]:.2f} | {ratios[1]:.2f} |", flush=True)


def labels(options: argparse.Namespace, names: list[str]) -> None:
    """Print the table of labels kept and mIoU."""
    data = open_dataset(options.data / "camvid", split="val", layout="camvid", labels=None)
    photos = sorted((options.data / "camvid" / "images" / "val").iterdir())[:: max(1, 101 // options.limit)][: options.limit]
    settings = EvaluationSettings(crf="off", linear_probe=False, limit=options.limit, workers=1)
    print("\n| runtime | patches with torch's class, % | mIoU | accuracy |")
    print("|---|---|---|---|", flush=True)
    reference: list[np.ndarray] = []
    for name in names:
        segmenter = Segmenter.load(options.model, device="cpu", runtime=name)
        found = [segmenter.probabilities(segmenter.encode(read_image(path))).argmax(axis=0) for path in photos]
        reference = reference or found
        same = np.concatenate([(ours == theirs).ravel() for ours, theirs in zip(found, reference, strict=True)]).mean()
        with tempfile.TemporaryDirectory() as folder, terminal_progress() as progress:
            scores = evaluate_segmenter(segmenter, data, settings, Path(folder), progress).scores["hungarian"]
        print(f"| {name} | {100 * same:.2f} | {scores.miou:.1f} | {scores.accuracy:.1f} |", flush=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="default")
    parser.add_argument("--runtimes", help="with commas, torch first; all that are installed here if not given")
    parser.add_argument("--sides", default="224,448")
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=101, help="images for labels and mIoU; 0 leaves them out")
    options = parser.parse_args()
    names = options.runtimes.split(",") if options.runtimes else available()
    if names[0] != "torch":
        raise StegoError(f"--runtimes {options.runtimes}: expected torch first, to which the others are compared")
    print(hardware(), flush=True)
    backbone = Segmenter.load(options.model, device="cpu").model.backbone
    sources = {name: open_tokens(name, backbone, runtime_precision(name, "auto", _CPU), lambda line: print(line, file=sys.stderr)) for name in names}
    photos = sorted((options.data / "camvid" / "images" / "val").iterdir())[:8]
    times(sources, photos, [int(side) for side in options.sides.split(",")], [int(batch) for batch in options.batches.split(",")], options.rounds)
    if options.limit:
        labels(options, names)


if __name__ == "__main__":
    try:
        main()
    except StegoError as error:
        sys.exit(str(error))
