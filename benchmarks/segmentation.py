"""Unsupervised segmentation of CamVid and MSRC against their labels: k-means, STEGO's objective, and the default recipe.

usage: python benchmarks/segmentation.py --data FOLDER [--backbone default|FILE] [--seeds 0,1,2] [--crf] [--results FOLDER]

FOLDER holds ``camvid`` and ``msrc_v2``. Prints a markdown table of mIoU ± standard deviation over seeds / accuracy, in %;
K is the true number of classes, and clusters are matched to classes by the Hungarian method on the histogram of the whole
set, at the labels' own resolution. Labels are used for that alone. Each cell is kept as a JSON file in the results folder,
so that an interrupted run goes on where it stopped, and a finished one only prints.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

from models.backbone import Backbone
from models.backbone_sources import load_backbone
from models.errors import StegoError
from stego_app.data import Dataset, open_dataset
from stego_app.discovery.codebook import spherical_kmeans
from stego_app.evaluation import accumulate, hungarian_scores
from stego_app.features import FeatureCache, Resolution
from stego_app.progress import Progress, terminal_progress
from stego_app.training.collapse import find_collapse
from stego_app.training.shifts import PUBLISHED, QUANTILE
from stego_app.training.stego import StegoConfig, codes_of, train_stego

VOID = 255
TEMPERATURE = 0.1  # of the softmax over cosines, for the CRF
KMEANS_TOKENS = 100_000
COLLAPSE_TOKENS = 4_000  # on which signs of collapse are looked for

Predictor = Callable[[npt.NDArray[np.float32], tuple[int, int]], torch.Tensor]
"""Tokens (h·w, C) and grid (h, w) of an image to scores (h·w, K); the largest wins."""


@dataclass(frozen=True)
class Task:
    """Fit on the images of one split, score on the labels of another."""

    name: str
    folder: str
    fit_split: str | None
    score_split: str | None
    size: tuple[int, int]


TASKS = (
    Task("CamVid train → val", "camvid", "train", "val", (336, 448)),
    Task("CamVid train → train", "camvid", "train", "train", (336, 448)),
    Task("MSRC", "msrc_v2", None, None, (224, 336)),
)
METHODS = {"k-means on features": "kmeans"}
METHODS |= {f"STEGO, published shifts: {name}": f"stego-{name}" for name in PUBLISHED}
METHODS |= {"STEGO, shifts from the data": f"stego-{QUANTILE}", "default": "default"}


@dataclass(frozen=True)
class Fitted:
    """A method fitted to a set: how it predicts, how long it took, and what else to record."""

    predict: Predictor
    seconds: float
    record: dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What the whole table was made with."""

    data: Path
    backbone: Backbone
    resolution: Resolution | None
    steps: int
    cache: Path | None
    device: str
    progress: Progress

    def features(self, task: Task, split: str | None) -> tuple[Dataset, FeatureCache]:
        dataset = open_dataset(self.data / task.folder, split=split)
        paths = [sample.image for sample in dataset.samples]
        size = self.resolution or task.size
        return dataset, FeatureCache.build(paths, self.backbone, resolution=size, device=self.device, folder=self.cache, progress=self.progress)


def fit(method: str, cache: FeatureCache, classes: int, seed: int, setting: Setting, size: Resolution) -> Fitted:
    """Fit ``method`` to ``cache`` without labels."""
    begun = time.perf_counter()
    if method == "kmeans":
        tokens, _ = cache.sample(KMEANS_TOKENS, seed)
        directions = spherical_kmeans(_unit(tokens), classes, np.random.default_rng(seed), iterations=25, starts=3)
        return Fitted(lambda tokens, _grid: _unit(tokens) @ directions.T, time.perf_counter() - begun, {})
    if method == "default":
        from stego_app.discovery import collect_crop_pairs, discover

        paths = list(dict.fromkeys(cache.paths))
        pairs = collect_crop_pairs(paths, setting.backbone, resolution=size, seed=seed, device=setting.device, progress=setting.progress)
        found = discover(cache, pairs, classes=classes, seed=seed, progress=setting.progress)
        model, seconds = found.model, time.perf_counter() - begun
        # Log-probabilities over the temperature's scale, so that one read-out serves all methods.
        return Fitted(
            lambda tokens, grid: model.class_probabilities(torch.from_numpy(tokens), classes, grid).clamp(min=1e-12).log() * TEMPERATURE,
            seconds,
            {"notes": list(found.notes)},
        )
    config = StegoConfig(shifts=method.removeprefix("stego-"), steps=setting.steps)
    result = train_stego(cache, classes, config, seed=seed, device=setting.device, progress=setting.progress)
    clusters = torch.from_numpy(result.clusters)
    tokens, _ = cache.sample(KMEANS_TOKENS, seed)
    codes = codes_of(result.head, tokens)
    shares = np.bincount((codes @ result.clusters.T).argmax(1), minlength=classes) / len(codes)
    record = {
        "shifts": dict(result.histograms.shifts),
        "agreement": result.histograms.agreement,
        "above": dict(result.histograms.above),
        "shares": sorted(shares.tolist(), reverse=True),
        "findings": [finding.text for finding in find_collapse(shares, tokens[:COLLAPSE_TOKENS], codes[:COLLAPSE_TOKENS], "stego")],
        "config": config.model_dump(),
    }
    return Fitted(lambda tokens, _grid: torch.from_numpy(codes_of(result.head, tokens)) @ clusters.T, time.perf_counter() - begun, record)


def score(fitted: Fitted, dataset: Dataset, cache: FeatureCache, classes: int, *, crf: bool, progress: Progress) -> dict[str, Any]:
    """Hungarian scores on the whole of ``dataset`` at the labels' resolution; with ``crf`` after refinement."""
    histogram = np.zeros((classes, classes), np.int64)
    samples = {sample.image: sample for sample in dataset.samples}
    for index, path in enumerate(cache.paths):
        image, label = dataset.read_pair(samples[path])
        scores = fitted.predict(cache.tokens(index).astype(np.float32), cache.grid(index))
        maps = scores.T.reshape(1, classes, *cache.grid(index))
        full = interpolate(maps, size=label.shape, mode="bilinear", align_corners=False)[0]
        if crf:
            full = torch.from_numpy(_refined(image, torch.softmax(full / TEMPERATURE, dim=0).numpy()))
        histogram += accumulate(full.argmax(0).numpy(), label, classes, classes, void=VOID)
        progress("scoring", index + 1, len(cache))
    names = dataset.class_names or tuple(str(number) for number in range(classes))
    matched = hungarian_scores(histogram, names)
    return {"miou": matched.miou, "accuracy": matched.accuracy, "histogram": histogram.tolist(), "classes": list(names)}


def _refined(image: npt.NDArray[np.uint8], probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    from stego_app.crf import CrfSettings, refine

    return refine(image, probabilities, CrfSettings())


def _unit(tokens: npt.NDArray[np.float32]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(tokens), dim=1)


def cell_path(results: Path, setting: Setting, task: Task, method: str, seed: int, crf: bool) -> Path:
    """The file of one cell; its name holds everything that decides its value but the program's version."""
    size = setting.resolution or task.size
    shown = f"{size[0]}x{size[1]}" if isinstance(size, tuple) else str(size)
    steps = f"-{setting.steps}" if method.startswith("stego") else ""
    task_name = f"{task.folder}-{task.fit_split or 'all'}-{task.score_split or 'all'}"
    return results / f"{setting.backbone.fingerprint}-{task_name}-{shown}-{method}{steps}-seed{seed}{'-crf' if crf else ''}.json"


def fill(setting: Setting, tasks: Sequence[Task], methods: Sequence[str], seeds: Sequence[int], crfs: Sequence[bool], results: Path) -> None:
    """Compute the cells that are not there yet; a fit serves all tasks with the same images."""
    results.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for folder, split, size in dict.fromkeys((task.folder, task.fit_split, task.size) for task in tasks):
            alike = [task for task in tasks if (task.folder, task.fit_split) == (folder, split)]
            for method in methods:
                missing = [(task, crf) for task in alike for crf in crfs if not cell_path(results, setting, task, method, seed, crf).exists()]
                if not missing:
                    continue
                dataset, cache = setting.features(alike[0], split)
                classes = len(dataset.class_names or ())
                fitted = fit(method, cache, classes, seed, setting, setting.resolution or size)
                for task, crf in missing:
                    scored = dataset, cache
                    if task.score_split != split:
                        scored = setting.features(task, task.score_split)
                    cell = score(fitted, *scored, classes, crf=crf, progress=setting.progress)
                    cell |= {"task": task.name, "method": method, "seed": seed, "crf": crf, "fit_seconds": fitted.seconds, **fitted.record, **_machine(setting)}
                    path = cell_path(results, setting, task, method, seed, crf)
                    partial = path.with_suffix(".part")
                    partial.write_text(json.dumps(cell, indent=1))
                    os.replace(partial, path)
                    print(f"{task.name} | {method} | seed {seed} | crf {crf}: {cell['miou']:.1f} / {cell['accuracy']:.1f}", file=sys.stderr, flush=True)


def _machine(setting: Setting) -> dict[str, Any]:
    return {"backbone": setting.backbone.fingerprint, "machine": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}


def table(setting: Setting, tasks: Sequence[Task], methods: dict[str, str], seeds: Sequence[int], crfs: Sequence[bool], results: Path) -> str:
    """The cells that exist as markdown: mIoU ± sd / accuracy; "(n)" where fewer seeds than asked for are there."""
    columns = [(task, crf) for task in tasks for crf in crfs]
    lines = ["| | " + " | ".join(task.name + (" + CRF" if crf else "") for task, crf in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for title, method in methods.items():
        row = [title]
        for task, crf in columns:
            paths = [cell_path(results, setting, task, method, seed, crf) for seed in seeds]
            cells = [json.loads(path.read_text()) for path in paths if path.exists()]
            if not cells:
                row.append("not run")
                continue
            mious, accuracies = [cell["miou"] for cell in cells], [cell["accuracy"] for cell in cells]
            spread = f" ± {statistics.stdev(mious):.1f}" if len(cells) > 1 else ""
            row.append(f"{statistics.mean(mious):.1f}{spread} / {statistics.mean(accuracies):.1f}" + ("" if len(cells) == len(seeds) else f" ({len(cells)})"))
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def main() -> None:
    """Fill what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("STEGO_DATA"), help="folder with camvid and msrc_v2; $STEGO_DATA if not given")
    parser.add_argument("--backbone", default="default", help="'default', a file, or a timm name")
    parser.add_argument("--block", type=int, help="block whose tokens are taken")
    parser.add_argument("--size", help="HxW for all sets, instead of 336x448 for CamVid and 224x336 for MSRC")
    parser.add_argument("--resolution", type=int, help="short side, aspect kept, instead of an exact size")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, default=500, help="of STEGO's objective")
    parser.add_argument("--methods", help=f"some of {', '.join(METHODS.values())}, with commas; all if not given")
    parser.add_argument("--tasks", help="some of camvid, msrc_v2, with commas; all if not given")
    parser.add_argument("--crf", action="store_true", help="columns with CRF beside")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cache", type=Path, help="folder for features; the user's cache folder if not given")
    parser.add_argument("--results", type=Path, default=Path("runs/segmentation"), help="folder for the cells")
    parser.add_argument("--only-print", action="store_true", help="print the cells that exist, compute nothing")
    options = parser.parse_args()
    if options.data is None:
        raise StegoError("--data: expected the folder that holds camvid and msrc_v2 (or set STEGO_DATA)")
    exact: Resolution | None = tuple(int(side) for side in options.size.split("x")) if options.size else options.resolution  # type: ignore[assignment]
    chosen = options.methods.split(",") if options.methods else list(METHODS.values())
    methods = {title: method for title, method in METHODS.items() if method in chosen}
    tasks = [task for task in TASKS if not options.tasks or task.folder in options.tasks.split(",")]
    seeds, crfs = [int(seed) for seed in options.seeds.split(",")], [False, True] if options.crf else [False]
    with terminal_progress() as progress:
        backbone = load_backbone(options.backbone, options.block)
        setting = Setting(options.data, backbone, exact, options.steps, options.cache, options.device, progress)
        if not options.only_print:
            fill(setting, tasks, list(methods.values()), seeds, crfs, options.results)
    spec = backbone.spec
    print(
        f"backbone {options.backbone} ({spec.architecture}, block {spec.block}, {backbone.fingerprint}); STEGO {options.steps} steps; seeds {options.seeds}\n"
    )
    print(table(setting, tasks, methods, seeds, crfs, options.results))


if __name__ == "__main__":
    try:
        main()
    except StegoError as error:
        sys.exit(str(error))
