"""What it costs to adapt the embedded backbone to a folder in part, and what that gives, on CamVid: a markdown table.

usage: python benchmarks/adaptation.py --data CAMVID --out FOLDER [--rows frozen,neco/last:2,...] [--segment]

CAMVID has the layout that `stego eval` reads. Each row adapts to every third frame of train with `stego pretrain METHOD --init default
--tune TUNE` in a process of its own on one thread (its peak memory is the row's). Then patches of frames of val are scored by k-means of
the patches of frames of train, matched to the classes on val, and by a linear classifier trained on them with labels. With --segment,
`stego train` on the same frames and `stego eval` on val give the product's own classes too. Nothing is chosen by these scores: settings are
the same for all rows. Run again, it goes on where it was stopped: finished rows are kept in FOLDER, an unfinished one continues from its
checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    import torch

    from models.backbone import Backbone

VOID = 255
ROWS = ("frozen", "neco/all", "neco/last:2", "neco/lora", "dinov2/all", "dinov2/last:2", "dinov2/lora")
# Few local crops: each is another forward pass.
METHOD_OPTIONS: dict[str, dict[str, Any]] = {"dinov2": {"local_crops": 2}}
# For a batch of 8 a peak of 2e-5, at which the embedded backbone itself was distilled; adapters have ten times as much.
LEARNING_RATE = 6.4e-4
BATCH = 8


def frames(options: argparse.Namespace) -> Path:
    """A folder of links to every ``--every``-th training frame."""
    folder: Path = options.out / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    for image in sorted((options.data / "images" / "train").iterdir())[:: options.every]:
        link = folder / image.name
        if not link.exists():
            link.symlink_to(image.resolve())
    return folder


def adapt(row: str, options: argparse.Namespace) -> None:
    """Train the row's backbone, in this process, and write its costs."""
    import torch

    from benchmarks.peak import peak_megabytes
    from pretrain.run import pretrain
    from pretrain.settings import make_pretrain_config

    torch.set_num_threads(1)
    method, _, tune = row.partition("/")
    config = make_pretrain_config(
        method=method, tune=tune, init="default", data=(frames(options),), out=backbone_of(row, options), image_size=options.image_size, steps=options.steps,
        batch=BATCH, learning_rate=LEARNING_RATE, options=METHOD_OPTIONS.get(method, {}), accelerator="cpu", workers=0, health_every=options.steps,
        checkpoint_every=20, file_precision="fp32",
    )  # fmt: skip
    begun, wall = time.process_time(), time.monotonic()
    pretrain(config)
    costs = {"cpu": time.process_time() - begun, "wall": time.monotonic() - wall, "peak": peak_megabytes()}
    file_of(row, "costs", options).write_text(json.dumps(costs))


def score(row: str, options: argparse.Namespace) -> None:
    """Score patches of frames of val by what frames of train teach: k-means of several seeds and one linear classifier."""
    import numpy as np
    import torch
    from torch.nn.functional import normalize

    from models.backbone_sources import load_backbone
    from stego_app.discovery.codebook import nearest_codes, spherical_kmeans
    from stego_app.evaluation import accumulate, hungarian_scores, matched_scores
    from stego_app.evaluation.linear_probe import fit_linear_probe

    torch.set_num_threads(1)
    backbone = load_backbone("default" if row == "frozen" else str(backbone_of(row, options)))
    (train, taught, names), (val, truth, _) = (patches(split, backbone, options) for split in ("train", "val"))
    count = len(names)
    clusters = []
    for seed in range(options.seeds):
        centroids = spherical_kmeans(normalize(train, dim=1), count, np.random.default_rng(seed), iterations=20, starts=3)
        found = nearest_codes(normalize(val, dim=1), centroids).numpy()
        clusters.append(hungarian_scores(accumulate(found, truth.numpy(), count, count), names).miou)
    known = taught != VOID
    probe = fit_linear_probe(train[known], taught[known], count)
    answers = probe.logits(val).argmax(dim=1).numpy()
    linear = matched_scores(accumulate(answers, truth.numpy(), count, count), np.arange(count), names).miou
    file_of(row, "scores", options).write_text(json.dumps({"kmeans": clusters, "linear": linear}))


def patches(split: str, backbone: Backbone, options: argparse.Namespace) -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]:
    """Tokens (n, C) of ``--limit`` frames of ``split``, the class (n,) at each patch's centre, and the classes' names."""
    import torch

    from stego_app.data import open_dataset
    from stego_app.data.dataset import evenly
    from stego_app.features import FeatureCache

    found = open_dataset(options.data, split=split, layout="camvid")
    samples = {sample.image: sample for sample in evenly(found.labelled, options.limit)}
    cache = FeatureCache.build(list(samples), backbone, resolution=options.resolution, device="cpu", folder=options.out / "cache")
    tokens, labels = [], []
    for index, path in enumerate(cache.paths):
        label = torch.from_numpy(found.read_label(samples[path]).astype("int64"))
        rows, columns = ((torch.arange(count) + 0.5) / count * side for count, side in zip(cache.grid(index), label.shape, strict=True))
        tokens.append(torch.from_numpy(cache.tokens(index).astype("float32")))
        labels.append(label[rows.long()][:, columns.long()].flatten())
    return torch.cat(tokens), torch.cat(labels), tuple(found.class_names or ())


def segment(row: str, options: argparse.Namespace) -> None:
    """`stego train` and `stego eval` with the row's backbone, as the command line does it."""
    model = file_of(row, "model", options).with_suffix(".safetensors")
    backbone = "default" if row == "frozen" else str(backbone_of(row, options))
    cache = ["--cache", options.out / "cache"]
    stego = [Path(sys.executable).with_name("stego")]
    train = [*stego, "train", frames(options), "--classes", 11, "--backbone", backbone, "--resolution", options.resolution, "--out", model, *cache]
    subprocess.run([str(part) for part in train], check=True)
    folder = model.with_suffix(".eval")
    judge = [*stego, "eval", options.data, "--split", "val", "--model", model, "--crf", "off", "--no-linear", "--limit", options.limit, "--out", folder]
    subprocess.run([str(part) for part in judge], check=True)
    file_of(row, "segment", options).write_text((folder / "scores.json").read_text())


def file_of(row: str, kind: str, options: argparse.Namespace) -> Path:
    """Where a finished part of a row is kept."""
    folder: Path = options.out
    return folder / f"{row.replace('/', '-').replace(':', '')}.{kind}.json"


def backbone_of(row: str, options: argparse.Namespace) -> Path:
    """The row's backbone file."""
    return file_of(row, "backbone", options).with_suffix(".safetensors")


def table(rows: list[str], options: argparse.Namespace) -> str:
    """What is finished, as markdown."""
    lines = ["| backbone | trained, millions | CPU min | wall min | peak MB | k-means mIoU | linear mIoU | classes mIoU |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        if not file_of(row, "scores", options).exists():
            continue
        scores = json.loads(file_of(row, "scores", options).read_text())
        cells = ["–"] * 4
        if row != "frozen":
            costs = json.loads(file_of(row, "costs", options).read_text())
            cells = [f"{trained(row):.2f}", f"{costs['cpu'] / 60:.1f}", f"{costs['wall'] / 60:.1f}", f"{costs['peak']:.0f}"]
        cells += [f"{mean(scores['kmeans']):.1f} ± {stdev(scores['kmeans']):.1f}", f"{scores['linear']:.1f}"]
        segments = file_of(row, "segment", options)
        cells.append(f"{json.loads(segments.read_text())['scores']['hungarian']['miou']:.1f}" if segments.exists() else "–")
        lines.append("| " + " | ".join([row.replace("/", ", "), *cells]) + " |")
    return "\n".join(lines)


def trained(row: str) -> float:
    """Millions of the backbone's weights that the row trains."""
    from pretrain.encoder import build_encoder
    from pretrain.settings import make_pretrain_config

    method, _, tune = row.partition("/")
    config = make_pretrain_config(method=method, tune=tune, init="default", data=(Path(),), out=Path("none"), accelerator="cpu")
    return sum(parameter.numel() for parameter in build_encoder(config).network.parameters() if parameter.requires_grad) / 1e6


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--every", type=int, default=3, help="one training frame in so many is adapted to")
    parser.add_argument("--limit", type=int, default=60, help="frames of train and of val that are probed")
    parser.add_argument("--resolution", type=int, default=224, help="short side at which frames are probed and segmented")
    parser.add_argument("--seeds", type=int, default=5, help="of k-means, 2 or more")
    parser.add_argument("--segment", action="store_true", help="also stego train and stego eval")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not (options.data / "images" / "train").is_dir():
        sys.exit(f"--data {options.data}: expected CamVid's folder, with images/train in it")
    options.out.mkdir(parents=True, exist_ok=True)
    rows = options.rows.split(",")
    if options.part:
        {"costs": adapt, "scores": score, "segment": segment}[options.part](rows[0], options)
        return
    for row in rows:
        for part in ("costs", "scores", *(["segment"] if options.segment else [])):
            if file_of(row, part, options).exists() or (row == "frozen" and part == "costs"):
                continue
            command = [sys.executable, *sys.argv, "--rows", row, "--part", part]
            status = subprocess.run(command, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode
            print(f"{row}, {part}: {'done' if status == 0 else f'failed ({status})'}", flush=True)
            if status:
                break
    print(f"\n{options.steps} steps of {BATCH} images of {options.image_size} px\n\n{table(rows, options)}")


if __name__ == "__main__":
    main()
