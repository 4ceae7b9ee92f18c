"""Processor time, wall time and peak memory of `stego train` at several numbers of images: a markdown table.

usage: python benchmarks/training_scale.py FOLDER... [--counts 5,100,1000,10000] [--classes 20] [--resolution 224]

Images are those of the folders, read recursively; where they are too few, further ones are random crops of them, so that no two
are equal. Every row is two processes: one starts without cached features, the other finds them, so that the cost of features
and that of everything after them stand apart; the peak is the first one's. Processor time, of all threads and children, is what
can be compared on a machine that others use.
"""

from __future__ import annotations

import argparse
import platform
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

SMALLEST_CROP = 0.6


def make_images(folders: list[Path], count: int, out: Path) -> None:
    """``count`` image files in ``out``: links to those of ``folders``, then random crops of them."""
    from stego_app.images import find_images

    out.mkdir()
    found = [path.resolve() for folder in folders for path in find_images(folder)]
    order = np.random.default_rng(0).permutation(len(found))
    for number in islice(order, count):
        (out / f"{number:06d}{found[number].suffix}").symlink_to(found[number])
    random = np.random.default_rng(1)
    for number in range(len(found), count):
        with Image.open(found[int(random.integers(len(found)))]) as image:
            share = random.uniform(SMALLEST_CROP, 0.95)
            width, height = max(1, round(image.width * share)), max(1, round(image.height * share))
            left, top = int(random.integers(image.width - width + 1)), int(random.integers(image.height - height + 1))
            image.convert("RGB").crop((left, top, left + width, top + height)).save(out / f"{number:06d}.jpg", quality=92)


class Cost(NamedTuple):
    """Of one training: seconds of processor time and on the clock, and peak memory in megabytes."""

    processor: float
    wall: float
    peak: float


def train(images: Path, out: Path, cache: Path, classes: str, resolution: int, seed: int) -> Cost:
    """What one training costs, in a process of its own."""
    command = [sys.executable, "-m", "stego_app.cli", "train", str(images), "--out", str(out), "--classes", classes, "--cache", str(cache)]
    code = f"import subprocess, resource, sys; r = subprocess.run({[*command, '--resolution', str(resolution), '--seed', str(seed)]!r}).returncode;"
    code += " used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_utime + used.ru_stime, used.ru_maxrss); sys.exit(r)"
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.strip().splitlines()[-1])
    processor, peak = (float(part) for part in done.stdout.strip().splitlines()[-1].split())
    return Cost(processor, time.perf_counter() - begun, peak / 1e3)


def main() -> None:
    """Print the table, a row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--counts", default="5,100,1000,10000")
    parser.add_argument("--classes", default="20")
    parser.add_argument("--resolution", type=int, default=224)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {resource.getpagesize()} byte pages; short side {options.resolution}, {options.classes} classes\n")
    print("| images | first training, CPU s (wall s) | CPU ms an image | again from cached features, CPU s (wall s) | peak memory, MB | cache, MB |")
    print("|---|---|---|---|---|---|", flush=True)
    for count in (int(part) for part in options.counts.split(",")):
        with tempfile.TemporaryDirectory() as temporary:
            work = Path(temporary)
            make_images(options.folders, count, work / "images")
            classes = str(min(int(options.classes), 3)) if count < 20 and options.classes != "auto" else options.classes
            first = train(work / "images", work / "first.safetensors", work / "cache", classes, options.resolution, 0)
            again = train(work / "images", work / "again.safetensors", work / "cache", classes, options.resolution, 1)
            cached = sum(path.stat().st_size for path in (work / "cache").rglob("*") if path.is_file()) / 1e6
        each = 1000 * first.processor / count
        first_s, again_s = (f"{cost.processor:.0f} ({cost.wall:.0f})" for cost in (first, again))
        print(f"| {count:,} | {first_s} | {each:.0f} | {again_s} | {first.peak:.0f} | {cached:.0f} |", flush=True)


if __name__ == "__main__":
    main()
