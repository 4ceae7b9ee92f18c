"""Depth against quality against milliseconds: distilled students, untrained cuts of the teacher, and the teacher.

    python benchmarks/distillation.py --teacher teacher.safetensors --data $STEGO_DATA/camvid 6=student6.safetensors 8=student8.safetensors

Quality is the mIoU of a linear probe on CamVid: 90 training and 50 validation images, evenly spaced, resized to
336x448, block output after the final norm, labels compared at the resized size. The same code and seeds serve
teacher, cuts and students. The same probes are also scored on 45 other images of the *training* part: depths are
chosen by that column, so that validation images play no role in the choice.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.backbone import Backbone
from models.backbone_sources import load_backbone
from pretrain.student import student_of_blocks
from stego_app.data.dataset import evenly

HEIGHT, WIDTH, CLASSES, VOID = 336, 448, 11, 255
TRAIN_IMAGES, VAL_IMAGES, SELECT_IMAGES = 90, 50, 45
STEPS, BATCH, RATE, DECAY = 600, 8, 2e-3, 1e-2
SEEDS = (0, 1, 2)


def read_pairs(images: Sequence[Path], labels: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 3, HEIGHT, WIDTH) in [0, 1] and labels (N, HEIGHT, WIDTH) of the resized size."""
    pixels, targets = [], []
    for path in images:
        picture = Image.open(path).convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        pixels.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
        label = np.array(Image.open(labels / f"{path.stem}.png").resize((WIDTH, HEIGHT), Image.Resampling.NEAREST))
        targets.append(torch.from_numpy(np.where(label < CLASSES, label, VOID).astype(np.int64)))
    return torch.stack(pixels).float() / 255, torch.stack(targets)


def features(backbone: Backbone, images: torch.Tensor) -> torch.Tensor:
    """Patch tokens (N, C, h, w) of ``images``; bfloat16 inside, as features are taken in training and labelling."""
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        return torch.cat([backbone(part).patches.float() for part in images.split(4)])


def probe(train: torch.Tensor, train_labels: torch.Tensor, tests: Sequence[tuple[torch.Tensor, torch.Tensor]], seed: int) -> list[float]:
    """mIoU in per cent, on each of ``tests``, of a linear classifier on standardised tokens, logits upsampled to the labels' size."""
    generator = torch.Generator().manual_seed(seed)
    mean, std = train.mean((0, 2, 3), keepdim=True), train.std((0, 2, 3), keepdim=True)
    train = (train - mean) / std
    weight = torch.zeros(CLASSES, train.shape[1], 1, 1).normal_(std=0.01, generator=generator).requires_grad_()
    bias = torch.zeros(CLASSES, requires_grad=True)
    optimiser = torch.optim.AdamW([weight, bias], lr=RATE, weight_decay=DECAY)
    # Trained at a quarter of the labels' size: the same boundaries for a sixteenth of the time.
    small = train_labels[:, 2::4, 2::4]
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        chosen = torch.randint(len(train), (BATCH,), generator=generator)
        logits = functional.interpolate(functional.conv2d(train[chosen], weight, bias), size=small.shape[1:], mode="bilinear")
        loss = functional.cross_entropy(logits, small[chosen], ignore_index=VOID)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.inference_mode():
        return [mean_iou(functional.conv2d((tokens - mean) / std, weight, bias), labels) for tokens, labels in tests]


def mean_iou(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """mIoU in per cent of ``logits`` (N, K, h, w), upsampled to ``labels`` (N, H, W), over one histogram of all images."""
    histogram = torch.zeros(CLASSES, CLASSES)
    for some, targets in zip(logits.split(8), labels.split(8), strict=True):
        found = functional.interpolate(some, size=targets.shape[1:], mode="bilinear").argmax(1)
        known = targets != VOID
        histogram += torch.bincount(targets[known] * CLASSES + found[known], minlength=CLASSES**2).view(CLASSES, CLASSES)
    hits, present = histogram.diag(), histogram.sum(1) > 0
    return float((hits / (histogram.sum(0) + histogram.sum(1) - hits).clamp(min=1))[present].mean() * 100)


def speeds(backbones: dict[int, Backbone], rounds: int = 12) -> dict[int, list[float]]:
    """Milliseconds of one image by depth: 224² in fp32 and bf16, 448² in fp32 and bf16.

    The best of ``rounds``, each of which times every depth once: what else runs on the machine then disturbs all alike.
    """
    best = {depth: [float("inf")] * 4 for depth in backbones}
    for index, (side, reduced) in enumerate(((224, False), (224, True), (448, False), (448, True))):
        image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        for _ in range(rounds):
            for depth, backbone in backbones.items():
                with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
                    begun = time.perf_counter()
                    backbone(image)
                    best[depth][index] = min(best[depth][index], (time.perf_counter() - begun) * 1000)
    return best


def camvid(data: Path, select_images: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images and labels: to train the probe, to choose by (other training images), and to report (validation images)."""
    everything = sorted((data / "images" / "train").iterdir())
    train = evenly(everything, TRAIN_IMAGES)
    taken = set(train)
    select = evenly([path for path in everything if path not in taken], select_images)
    val = evenly(sorted((data / "images" / "val").iterdir()), VAL_IMAGES)
    folder = data / "labels"
    return [read_pairs(train, folder / "train"), read_pairs(select, folder / "train"), read_pairs(val, folder / "val")]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("students", nargs="*", metavar="NAME=FILE", help="students by a name for the table")
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--teacher-block", type=int, default=9)
    parser.add_argument("--data", type=Path, required=True, help="CamVid, with images/ and labels/ of train and val")
    parser.add_argument("--cuts", type=int, nargs="*", default=[4, 5, 6, 7, 8], help="depths of the untrained control")
    parser.add_argument("--no-speed", action="store_true")
    parser.add_argument("--select-images", type=int, default=SELECT_IMAGES, help="other training images to choose by")
    options = parser.parse_args()

    teacher = load_backbone(options.teacher, options.teacher_block)
    depth = teacher.spec.block + 1
    rows: list[tuple[str, Backbone]] = [(f"teacher, {depth} blocks", student_of_blocks(teacher, depth, "first", "").eval())]
    rows += [(f"untrained cut, {cut} blocks", student_of_blocks(teacher, cut, "first", "").eval()) for cut in options.cuts]
    rows += [(name, load_backbone(path)) for name, _, path in (text.partition("=") for text in options.students)]
    timed = {backbone.spec.depth: backbone for _, backbone in rows}
    speed_of = {depth: [float("nan")] * 4 for depth in timed} if options.no_speed else speeds(timed)
    train, select, val = camvid(options.data, options.select_images)
    print("| backbone | train part, mIoU | of the teacher | val, mIoU | of the teacher | 224² ms fp32 / bf16 | 448² ms fp32 / bf16 | faster by |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    base = np.ones(2)
    for index, (name, backbone) in enumerate(rows):
        tests = [(features(backbone, images), labels) for images, labels in (select, val)]
        tokens = features(backbone, train[0])
        scores = np.array([probe(tokens, train[1], tests, seed) for seed in SEEDS])
        speed = speed_of[backbone.spec.depth]
        if index == 0:
            base = scores.mean(0)
        cells = [f"{scores[:, part].mean():.1f} ± {scores[:, part].std():.1f} | {scores[:, part].mean() / base[part] * 100:.1f} %" for part in (0, 1)]
        gain = np.mean([before / own for before, own in zip(speed_of[depth], speed, strict=True)])
        print(f"| {name} | {' | '.join(cells)} | {speed[0]:.0f} / {speed[1]:.0f} | {speed[2]:.0f} / {speed[3]:.0f} | {gain:.2f}× |", flush=True)


if __name__ == "__main__":
    main()
