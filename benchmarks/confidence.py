"""Which label-free signal tells wrong pixels from right ones: AUROC on CamVid and MSRC, against their labels.

usage: python benchmarks/confidence.py --data FOLDER [--backbone default|FILE] [--seeds 0,1,2] [--resolution SIDE] [--cache FOLDER] [--results FOLDER]

FOLDER holds ``camvid`` and ``msrc_v2``. The default recipe is fitted without labels at the true number of classes, with its
table of agreement; then each pixel of the scored images gets its class and each signal's value, and labels say whether the
class was right, under the Hungarian and under the many-to-one matching on the whole set. No CRF. Prints markdown: AUROC by
signal, mean ± standard deviation over seeds, one table for each matching; then, for the confidence of the product, accuracy
against coverage, calibration, and how the scores of whole images rank them by accuracy (Spearman, and AUROC of the worst quarter). Each run is
kept as a JSON file, so that an interrupted one goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

import stego_app.confidence
from benchmarks.bench.cells import Setting
from benchmarks.bench.methods import DEFAULT
from benchmarks.bench.recipe import code_only, recipe_fingerprint
from benchmarks.bench.scoring import Labelled
from benchmarks.bench.tasks import SHARED, Task
from models.backbone_sources import load_backbone
from models.errors import StegoError
from stego_app.atomic import write_bytes
from stego_app.clusters import ClusterModel, cut
from stego_app.confidence import Agreement, agreement_maps
from stego_app.confidence.fit import fit_agreement
from stego_app.confidence.maps import raw_scores, surrounding
from stego_app.discovery import collect_crop_pairs, discover
from stego_app.evaluation.error_prediction import accumulate_by_confidence, error_prediction
from stego_app.evaluation.histogram import VOID, accumulate
from stego_app.evaluation.matching import hungarian, majority
from stego_app.progress import Progress, terminal_progress
from stego_app.segmentation import decide, upsample_probabilities

BINS = 1000
CONFIDENCE = "confidence"
MATCHINGS = {"Hungarian": hungarian, "many to one": majority}
SIGNALS = {
    "probability of the class": "probability",
    "margin of the two best classes": "margin",
    "entropy of the classes": "entropy",
    "probability, mean of the surrounding": "surrounding probability",
    "entropy of the fine clusters": "fine entropy",
    "cosine with the nearest fine cluster": "novelty",
    "retention of the patch alone": "retention",
    "retention, with the surrounding": "surrounding retention",
    "the same, calibrated: the confidence": CONFIDENCE,
}

IMAGE_SCORES = ("mean confidence",)

Floats = npt.NDArray[np.float32]


class Image(NamedTuple):
    """One image: its scores by name, and the pixels (clusters, classes) counted in it."""

    scores: dict[str, float]
    histogram: npt.NDArray[np.int64]


def signals(logits: Floats, fine: Floats, agreement: Agreement, part: npt.NDArray[np.int64], classes: int) -> dict[str, Floats]:
    """Each signal on the patch grid: (K, h, w) where it depends on the class that is chosen, else (1, h, w); all in [0, 1].

    Args:
        logits, fine: (F, h, w) cosines and probabilities of the fine clusters.
        agreement: of the segmenter.
        part: (F,) class of each fine cluster.
        classes: K.
    """
    member = np.eye(classes, dtype=np.float32)[part]
    probability = np.einsum("fhw,fk->khw", fine, member)
    ordered = np.sort(probability, axis=0)
    retention = np.einsum("fhw,fk->khw", fine, agreement.transitions @ member)
    return {
        "probability": probability,
        "margin": (ordered[-1:] - ordered[-2:-1]) if classes > 1 else ordered[-1:],
        "entropy": 1 + (probability * np.log(probability + 1e-9)).sum(0, keepdims=True) / np.log(max(2, classes)),
        "surrounding probability": surrounding(probability),
        "fine entropy": 1 + (fine * np.log(fine + 1e-9)).sum(0, keepdims=True) / np.log(len(fine)),
        "novelty": (logits.max(0, keepdims=True) + 1) / 2,
        "retention": retention,
        "surrounding retention": raw_scores(fine, agreement.transitions, part, classes),
        CONFIDENCE: agreement_maps(fine, agreement, part, classes),
    }


def run(clusters: ClusterModel, agreement: Agreement, labelled: Labelled, progress: Progress) -> dict[str, Any]:
    """AUROC of each signal under each matching, and what else is to be known of the confidence."""
    dataset, cache = labelled
    classes, part = clusters.classes, cut(clusters.merges, clusters.classes)
    samples = {sample.image: sample for sample in dataset.samples}
    counts = {name: np.zeros((classes, classes, BINS), np.int64) for name in SIGNALS.values()}
    images: list[Image] = []
    for index, path in enumerate(cache.paths):
        label, grid = dataset.read_label(samples[path]), cache.grid(index)
        cosines = clusters.fine_logits(torch.from_numpy(cache.tokens(index).astype(np.float32)))
        fine = torch.softmax(cosines / clusters.temperature, dim=1).T.reshape(-1, *grid).numpy()
        values = signals(cosines.T.reshape(-1, *grid).numpy(), fine, agreement, part, classes)
        # An empty row for what is ignored: nothing is here.
        said, _ = decide(np.concatenate([values["probability"], np.zeros((1, *grid), np.float32)]), (label.shape[0], label.shape[1]))
        for name, maps in values.items():
            whole = upsample_probabilities(maps, (label.shape[0], label.shape[1]))
            own = whole[0] if len(maps) == 1 else np.take_along_axis(whole, said[None].astype(np.int64), 0)[0]
            counts[name] += accumulate_by_confidence(said, label, np.clip(own, 0, 1), classes, classes, BINS)
            if name == CONFIDENCE:
                mean = float(own[label != VOID].mean()) if (label != VOID).any() else 0.0
                images.append(Image({"mean confidence": mean}, accumulate(said, label, classes, classes)))
        progress("scoring", index + 1, len(cache))
    found: dict[str, Any] = {}
    for title, rule in MATCHINGS.items():
        matching = rule(counts[CONFIDENCE].sum(2))
        found[title] = {
            "auroc": {name: error_prediction(count, matching).auroc for name, count in counts.items()},
            "confidence": error_prediction(counts[CONFIDENCE], matching).as_dict(),
            "images": {name: image_score(images, name, matching) for name in IMAGE_SCORES},
        }
    return found


def image_score(images: Sequence[Image], name: str, matching: npt.NDArray[np.int64]) -> dict[str, float]:
    """Spearman's rank correlation of a score of images with their accuracy, and AUROC of telling the worst quarter of images."""
    rows = np.flatnonzero(matching >= 0)
    counted = [image for image in images if image.histogram.sum()]
    accuracy = np.array([image.histogram[rows, matching[rows]].sum() / image.histogram.sum() for image in counted])
    scores = np.array([image.scores[name] for image in counted])
    fine = accuracy >= np.quantile(accuracy, 0.25)
    return {"rank correlation": float(spearmanr(scores, accuracy).statistic), "auroc": float(roc_auc_score(fine, scores))}


def fill(setting: Setting, seeds: Sequence[int]) -> None:
    """Compute the runs that are not there yet; a fit serves the tasks with the same images."""
    for seed in seeds:
        for folder, split in dict.fromkeys((task.folder, task.fit_split) for task in SHARED):
            tasks = [task for task in SHARED if (task.folder, task.fit_split) == (folder, split)]
            if all(cell(setting, task, seed).exists() for task in tasks):
                continue
            dataset, cache = setting.features(tasks[0], split, DEFAULT)
            size, paths = setting.size(tasks[0]), list(dict.fromkeys(cache.paths))
            pairs = collect_crop_pairs(
                paths, setting.backbone, resolution=size, seed=seed, device=setting.device, brighten=True, read=dataset.reader(), progress=setting.progress
            )
            clusters = discover(cache, pairs, classes=len(dataset.class_names or ()), seed=seed, progress=setting.progress).model
            agreement = fit_agreement(clusters, cache, seed=seed, progress=setting.progress)
            if agreement is None:
                raise StegoError(f"{dataset.root}: too few images to measure agreement")
            for task in tasks:
                scored = (dataset, cache) if task.score_split == split else setting.features(task, task.score_split, DEFAULT)
                found = {"task": task.name, "seed": seed, "reliability": agreement.header(), **run(clusters, agreement, scored, setting.progress)}
                write_bytes(cell(setting, task, seed), json.dumps(found, indent=1).encode())


def cell(setting: Setting, task: Task, seed: int) -> Path:
    """The file of one run."""
    shown = f"-{setting.resolution}" if setting.resolution else ""
    return setting.results / f"{setting.backbone.fingerprint}-{task.folder}-{task.score_split or 'all'}-{recipe_fingerprint()}-{_code()}{shown}-seed{seed}.json"


def _code() -> str:
    """Eight hex digits of the code of confidence, so that runs of an older one are never taken for today's."""
    files = sorted(Path(stego_app.confidence.__file__).parent.glob("*.py"))
    return hashlib.sha256("".join(code_only(file.read_text(encoding="utf-8")) for file in files).encode()).hexdigest()[:8]


def report(setting: Setting, seeds: Sequence[int]) -> str:
    """The runs that exist as markdown."""
    runs = {task.name: [json.loads(path.read_text()) for seed in seeds if (path := cell(setting, task, seed)).exists()] for task in SHARED}
    lines: list[str] = []
    for title in MATCHINGS:
        lines += [f"AUROC, {title} matching:", "", "| | " + " | ".join(runs) + " |", "|---" * (len(runs) + 1) + "|"]
        for shown, name in SIGNALS.items():
            lines.append(f"| {shown} | " + " | ".join(_spread([run[title]["auroc"][name] for run in found], 3) for found in runs.values()) + " |")
        lines.append("")
    lines += ["| confidence | " + " | ".join(runs) + " |", "|---" * (len(runs) + 1) + "|"]
    for title in MATCHINGS:
        for number, share in enumerate((100, 90, 80, 70, 50, 30)):
            values = [[run[title]["confidence"]["coverage"][number]["accuracy"] for run in found] for found in runs.values()]
            lines.append(f"| accuracy of the surest {share} %, {title} | " + " | ".join(_spread(column, 1) for column in values) + " |")
        for name, what in ((name, what) for name in IMAGE_SCORES for what in ("rank correlation", "auroc")):
            values = [[run[title]["images"][name][what] for run in found] for found in runs.values()]
            shown = "AUROC of the worst quarter of images" if what == "auroc" else f"{what} over images"
            lines.append(f"| {name} of the image: {shown}, {title} | " + " | ".join(_spread(column, 2) for column in values) + " |")
        values = [[run[title]["confidence"]["calibration_error"] for run in found] for found in runs.values()]
        lines.append(f"| mean distance to accuracy, {title} | " + " | ".join(_spread(column, 3) for column in values) + " |")
    for shown, key in (("mean agreement on held-out images", "agreement"), ("calibration error against agreement, held out", "error")):
        lines.append(f"| {shown} | " + " | ".join(_spread([run["reliability"][key] for run in found], 3) for found in runs.values()) + " |")
    return "\n".join(lines)


def _spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return "not run"
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def main() -> None:
    """Fill what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("STEGO_DATA"), help="folder of the sets; $STEGO_DATA if not given")
    parser.add_argument("--backbone", default="default", help="'default', a file, or a timm name")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--resolution", type=int, help="short side that the backbone sees; 336 on CamVid and 224 × 336 on MSRC if not given")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cache", type=Path, help="folder for features; the user's cache folder if not given")
    parser.add_argument("--results", type=Path, default=Path("runs/confidence"), help="folder for the runs")
    options = parser.parse_args()
    if options.data is None:
        raise StegoError("--data: expected the folder that holds camvid and msrc_v2 (or set STEGO_DATA)")
    seeds = [int(seed) for seed in options.seeds.split(",")]
    options.results.mkdir(parents=True, exist_ok=True)
    with terminal_progress() as progress:
        backbone = load_backbone(options.backbone)
        setting = Setting(Path(options.data), options.results, backbone, options.resolution, 0, False, options.cache, options.device, progress)
        fill(setting, seeds)
    print(f"backbone {options.backbone} ({backbone.fingerprint}); recipe {recipe_fingerprint()}; seeds {options.seeds}\n\n{report(setting, seeds)}")


if __name__ == "__main__":
    try:
        main()
    except StegoError as error:
        sys.exit(str(error))
