"""Where a pretraining run's time goes, and what memory a ViT-B takes: markdown tables.

usage: python benchmarks/pretraining_costs.py FOLDER [--methods simclr,dino,mae] [--workers 0,1] [--batches 2,4,8]

A dozen images are enough in FOLDER: every run looks at up to 512 of them twice for its health, which is not counted but takes its time.

The first table is Lightning's profile of the embedded backbone's size (ViT-S, 224 px) on the images of FOLDER: of the time between two steps, the
share that waits for the next batch. Without workers views are made between the steps, with them beside the steps. The second is
the peak of a process that takes two steps of SimCLR with ViT-B/16 at 224 px, two views an image, AdamW included.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.peak import peak_megabytes

STEPS, BATCH = 12, 4
VIT: dict[str, Any] = {"architecture": "vit_small_patch16_224", "image_size": 224}
RUN: dict[str, Any] = {**VIT, "batch": BATCH, "accelerator": "cpu", "health_every": 1000, "checkpoint_every": 1000}
WAIT, STEP = "train_dataloader_next", "run_training_batch"


def waited(method: str, folder: Path, workers: int) -> tuple[float, float]:
    """Mean seconds a step waits for its batch, and that it takes, without the first steps, which fill caches and start workers."""
    import lightning
    from lightning.pytorch.profilers import SimpleProfiler

    from pretrain.run import pretrain
    from pretrain.settings import make_pretrain_config

    profiler = SimpleProfiler()
    with tempfile.TemporaryDirectory() as out, mock.patch.object(lightning, "Trainer", partial(lightning.Trainer, profiler=profiler)):
        pretrain(make_pretrain_config(**RUN, method=method, data=(folder,), out=Path(out) / "b.safetensors", steps=STEPS, workers=workers))
    times: dict[str, list[float]] = {WAIT: [], STEP: []}
    for action, laps in profiler.recorded_durations.items():
        times[action.rpartition(".")[2]] = laps[2:STEPS]
    return sum(times[WAIT]) / len(times[WAIT]), sum(times[STEP]) / len(times[STEP])


def two_steps(folder: Path, batch: int, precision: str, checkpointing: bool) -> None:
    """Train a ViT-B for two steps and print the peak of this process in megabytes."""
    from pretrain.run import pretrain
    from pretrain.settings import make_pretrain_config

    options = {**RUN, "architecture": "vit_base_patch16_224", "batch": batch, "precision": precision, "checkpointing": checkpointing}
    with tempfile.TemporaryDirectory() as out:
        pretrain(make_pretrain_config(**options, method="simclr", data=(folder,), out=Path(out) / "b.safetensors", steps=2, workers=0))
    print(peak_megabytes())


def main() -> None:
    """Print the tables, a row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", default="simclr,dino,mae")
    parser.add_argument("--workers", default="0,1")
    parser.add_argument("--batches", default="2,4,8")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        two_steps(options.folder, int(options.one[0]), options.one[1], options.one[2] == "True")
        return
    import torch

    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads\n")
    print("| method | workers | waiting for a batch, ms | step, ms | share waited |\n|---|---|---|---|---|", flush=True)
    for method in filter(None, options.methods.split(",")):
        for workers in (int(part) for part in options.workers.split(",")):
            wait, step = waited(method, options.folder, workers)
            print(f"| {method} | {workers} | {1000 * wait:.0f} | {1000 * step:.0f} | {100 * wait / (wait + step):.1f} % |", flush=True)
    print("\n| ViT-B/16, images a step | precision | recomputed activations | peak memory, MB |\n|---|---|---|---|", flush=True)
    for precision in ("32-true", "bf16-mixed"):
        for checkpointing in (False, True):
            for batch in (int(part) for part in options.batches.split(",")):
                command = [sys.executable, __file__, str(options.folder), "--one", str(batch), precision, str(checkpointing)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise SystemExit(done.stderr.strip().splitlines()[-1])
                print(f"| {batch} | {precision} | {'yes' if checkpointing else 'no'} | {float(done.stdout.splitlines()[-1]):.0f} |", flush=True)


if __name__ == "__main__":
    main()
