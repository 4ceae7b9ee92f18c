"""What one image costs, stage by stage, in CPU time and bytes: a markdown table, from which docs/scale.md counts up.

usage: python benchmarks/unit_costs.py FOLDER [--images 24] [--model default]

CPU time is this process's and its children's, in one thread, so that it hardly depends on what else the machine does; divide by the cores for
seconds on a wall clock. Every stage runs once before it is measured.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import numpy as np
import torch

from stego_app.features import FeatureCache
from stego_app.features.neighbours import nearest_images
from stego_app.images import find_images, read_image
from stego_app.labelling import LabelSettings, label_images
from stego_app.labelling.labeller import Labeller
from stego_app.labelling.names import plan_inputs
from stego_app.segmenter import Segmenter

WIDTH, NEIGHBOURS = 384, 7


def cpu_seconds() -> float:
    """User and system time of this process and of children that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def cost(work: Callable[[], Any], count: int) -> float:
    """CPU milliseconds of ``work`` for each of its ``count`` items."""
    begun = cpu_seconds()
    work()
    return 1000 * (cpu_seconds() - begun) / count


def size_of(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def here(plans: Any, out: Path, segmenter: Any, settings: Any, record: Any, progress: Any) -> None:
    """An engine without worker processes, whose CPU time could not be told apart from their start."""
    Labeller(out, segmenter, settings, record, progress, None).label(plans)


def main() -> None:
    """Print a row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--model", default="default")
    options = parser.parse_args()
    torch.set_num_threads(1)
    paths = find_images(options.folder)[: options.images]
    count = len(paths)
    height, width = read_image(paths[0]).shape[:2]
    segmenter = Segmenter.load(options.model, device="cpu")
    print(f"{count} images of {width} × {height}, `{options.model}`, one thread\n\n| | CPU ms each | bytes each |\n|---|---|---|", flush=True)

    def row(name: str, milliseconds: float, size: float | None = None) -> None:
        print(f"| {name} | {milliseconds:.3g} | {'' if size is None else f'{size:,.0f}'} |", flush=True)

    sizes = sum(path.stat().st_size for path in paths) / count
    row("read and decode", cost(lambda: [read_image(path) for path in paths], count), sizes)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        backbone = segmenter.model.backbone
        for resolution in (224, 320):
            FeatureCache.build(paths[:2], backbone, resolution=resolution, device="cpu", folder=work / "warm")
            folder = work / f"cache{resolution}"
            spent = cost(
                lambda folder=folder, resolution=resolution: FeatureCache.build(paths, backbone, resolution=resolution, device="cpu", folder=folder), count
            )  # type: ignore[misc]
            row(f"features at {resolution} px, into the cache", spent, size_of(folder) / count)
        for name, settings in (("labels without CRF", LabelSettings(crf=False)), ("labels", LabelSettings())):
            label_images(plan_inputs(paths[:2], work / f"warm {name}"), work / f"warm {name}", segmenter, settings, engine=here)
            out = work / name
            plans = plan_inputs(paths, out)
            row(
                name,
                cost(lambda plans=plans, out=out, settings=settings: label_images(plans, out, segmenter, settings, engine=here), count),
                size_of(out / "labels") / count,
            )  # type: ignore[misc]
        row(
            "checked again by its manifest",
            cost(lambda: label_images(plans, out, segmenter, settings, engine=here), count),
            (out / "manifest.jsonl").stat().st_size / count,
        )
    for number in (5_000, 20_000):
        vectors = np.random.default_rng(0).standard_normal((number, WIDTH)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        row(f"{NEIGHBOURS} nearest of {number:,} vectors", cost(lambda vectors=vectors: nearest_images(vectors, NEIGHBOURS), number), 4 * WIDTH)  # type: ignore[misc]


if __name__ == "__main__":
    main()
