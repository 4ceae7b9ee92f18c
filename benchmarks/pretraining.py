"""Every pretraining method on CIFAR-10's subset with one small ViT and one budget of processor time: a markdown table.

usage: python benchmarks/pretraining.py --data CIFAR10 --out FOLDER [--minutes 2] [--methods simclr,dino] [--seeds 0]

CIFAR10 holds train.tar and test.tar with class folders. Each method runs in a process of its own on one thread, for as many steps as
the budget holds by the processor time of a few steps beforehand (so that other work on the machine does not decide the ranking). Features
of the kept encoder, pooled as the method trains them, are judged on the test images by 20 nearest neighbours and by logistic regression on
the training images, beside those of the same ViT before training. Run again, it goes on where it was stopped: finished rows are kept in
FOLDER, an unfinished one continues from its checkpoint. `neco` goes on from the backbone that `dinov2` made, which is its start in the table.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

VIT: dict[str, Any] = {"architecture": "vit_tiny_patch16_224", "image_size": 32, "patch_size": 8, "depth": 2}
RUN: dict[str, Any] = {
    "batch": 64,  # in so short a run more steps are worth more than larger ones
    "learning_rate": 4e-3,
    "accelerator": "cpu",
    "workers": 0,
    "log_every": 20,
    "checkpoint_every": 100,
    "file_precision": "fp32",
}
# Heads in proportion to a ViT of 192 channels; published ones would cost more than it.
HEAD = {"hidden": 512}
# A local view of four patches says little, and costs a third of a global one.
CROPS = {"local_crops": 0}
# What self-distillation needs to learn in minutes: many prototypes, answers that name few of them and that share all of them out evenly, a quick teacher, and
# batch norm in the heads, which keeps features apart that would otherwise fall together under so quick a one.
PROTOTYPES = {**HEAD, **CROPS, "batch_norm": True, "bottleneck": 128, "prototypes": 2048, "most_entropy": 0.25, "momentum": 0.5}
DINO = {**PROTOTYPES, "centering": "sinkhorn"}
OPTIONS: dict[str, dict[str, Any]] = {
    "simclr": HEAD,
    "byol": HEAD,
    "simsiam": {"projection": 512, "bottleneck": 128},
    "barlow-twins": {"projection": 512},
    "vicreg": {"projection": 512},
    "swav": {**HEAD, **CROPS, "prototypes": 512, "most_entropy": 0.5, "global_scale": [0.4, 1.0]},
    "mae": {"width": 128, "decoder_depth": 2, "heads": 4},
    "simmim": {"mask_unit": 8},
    "ijepa": {"predictor_depth": 2},
    "dino": DINO,
    "ibot": {**DINO, "momentum": 0.9},  # what is said of patches needs a slower teacher
    "simclrv2": HEAD,
    "simclrv2+labels": {**HEAD, "label_fraction": 0.1},
    "lejepa": {**HEAD, "local_crops": 2, "local_size": 16},
    "dinov2": {**PROTOTYPES, "momentum": 0.9},
    "neco": {"grid": 4},
}
BEFORE, TIMED = 2, 6


def settings(row: str, seed: int, data: Path, folder: Path) -> dict[str, Any]:
    """The run's settings, without its number of steps."""
    method = row.partition("+")[0]
    fields = {"method": method, "data": (data / "train.tar",), "out": folder / f"{row}-{seed}.safetensors", "options": OPTIONS[row], "seed": seed, **VIT, **RUN}
    if method == "neco":
        start = folder / f"dinov2-{seed}.safetensors"
        fields |= {"init": str(start), "architecture": VIT["architecture"], "patch_size": None, "depth": None, "learning_rate": 2e-4}
    return fields


def steps_within(fields: dict[str, Any], seconds: float) -> int:
    """Optimiser steps that take ``seconds`` of this process's time, by timing a few."""
    import torch

    from pretrain.batches import Share
    from pretrain.run import prepare
    from pretrain.schedules import Clock
    from pretrain.settings import make_pretrain_config

    module = prepare(make_pretrain_config(**fields, steps=1000)).module
    views, optimiser = module.make_batches(600, Share()), module.configure_optimizers()
    begun = 0.0
    for number in range(BEFORE + TIMED):
        if number == BEFORE:
            begun = time.process_time()
        module.method.clock = Clock(500, 1000)
        with torch.autocast("cpu", torch.bfloat16, enabled=module.config.precision != "32-true"):
            loss = module.method(views[number]).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        module.method.after_step()
    return max(1, int(seconds / ((time.process_time() - begun) / TIMED)))


def judge(fields: dict[str, Any], trained: Path | None, data: Path) -> dict[str, float]:
    """k-NN and linear accuracy of a run's start, or of the backbone it wrote."""
    import torch
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    from pretrain.augment import centre_view
    from pretrain.encoder import build_encoder
    from pretrain.health import knn_accuracy
    from pretrain.methods import load_method
    from pretrain.settings import make_pretrain_config
    from pretrain.source import folder_labels, open_source

    if trained:
        fields = {**fields, "init": str(trained), "patch_size": None, "depth": None}
    encoder = build_encoder(make_pretrain_config(**fields)).eval()
    pooling = load_method(fields["method"]).pooling
    sets = []
    for name in ("train.tar", "test.tar"):
        source = open_source([data / name])
        images = torch.stack([centre_view(source.read(index), VIT["image_size"]) for index in range(len(source))])
        with torch.inference_mode():
            features = torch.cat([encoder.pool(encoder(part), pooling) for part in torch.split(images, 250)]).float()
        sets.append((features, torch.from_numpy(folder_labels(source)[0])))
    (train, train_labels), (test, test_labels) = sets
    scale = StandardScaler().fit(train.numpy())
    probe = LogisticRegression(max_iter=100, C=0.1).fit(scale.transform(train.numpy()), train_labels.numpy())
    linear = float(probe.score(scale.transform(test.numpy()), test_labels.numpy()))
    return {"knn": knn_accuracy(train, train_labels, test, test_labels), "linear": linear}


def measure(row: str, seed: int, data: Path, folder: Path, minutes: float) -> dict[str, Any]:
    """One row, in this process."""
    import torch

    from benchmarks.peak import peak_megabytes
    from models.artifact import read_header
    from pretrain.run import pretrain
    from pretrain.settings import make_pretrain_config
    from pretrain.state import part_path

    torch.set_num_threads(1)
    fields = settings(row, seed, data, folder)
    plan = folder / f"{row}-{seed}.steps"
    if not plan.exists():
        plan.write_text(str(steps_within(fields, 60 * minutes)))
    steps = int(plan.read_text())
    config = make_pretrain_config(**fields, steps=steps, health_every=max(1, steps // 5))
    state = part_path(config.out)
    done = int(read_header(state)["step"]) if state.exists() else 0
    wall, cpu = time.monotonic(), time.process_time()
    pretrain(config)
    # What a run that was stopped had taken before is not known: its steps took as long as those since, if there are any.
    whole = steps / (steps - done) if done < steps else float("nan")
    wall, cpu = whole * (time.monotonic() - wall), whole * (time.process_time() - cpu)
    start = judge(fields, None, data)
    scores = judge(fields, config.out, data)
    return {
        "row": row,
        "seed": seed,
        "steps": steps,
        "wall": wall,
        "cpu": cpu,
        "rate": steps * config.batch / cpu,
        "peak": peak_megabytes(),
        "start": start,
        **scores,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The markdown table, best k-NN first within the order of rows."""
    lines = [
        "| method | k-NN start → end | linear start → end | steps | CPU s | wall s | images / CPU s | peak MB | seed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        pairs = [f"{100 * row['start'][name]:.1f} → {100 * row[name]:.1f} (**{100 * (row[name] - row['start'][name]):+.1f}**)" for name in ("knn", "linear")]
        numbers = [str(row["steps"]), *(f"{row[name]:.0f}" for name in ("cpu", "wall", "rate", "peak")), str(row["seed"])]
        lines.append("| " + " | ".join([row["row"], *pairs, *numbers]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--methods", default=",".join(OPTIONS))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.one:
        row, _, seed = options.one.rpartition("-")
        result = measure(row, int(seed), options.data, options.out, options.minutes)
        (options.out / f"{options.one}.json").write_text(json.dumps(result))
        return
    wanted = [f"{row}-{seed}" for seed in options.seeds.split(",") for row in options.methods.split(",")]
    for name in wanted:
        if not (options.out / f"{name}.json").exists():
            command = [sys.executable, __file__, "--data", options.data, "--out", options.out, "--minutes", str(options.minutes), "--one", name]
            status = subprocess.run([str(part) for part in command], check=False).returncode
            print(f"{name}: {'done' if status == 0 else f'failed ({status})'}", flush=True)
    rows = [json.loads(path.read_text()) for name in wanted if (path := options.out / f"{name}.json").exists()]
    print(f"{platform.processor() or platform.machine()}, one thread, {options.minutes:g} minutes of processor time a method\n\n{table(rows)}")


if __name__ == "__main__":
    main()
