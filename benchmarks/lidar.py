"""Numbers of docs/results.md on lidar: what ALSO predicts on held-out scans, and what its features are worth against the random start.

    python -m benchmarks.lidar held-out lidar.safetensors.part SCANS
    python -m benchmarks.lidar probe lidar.safetensors LABELLED --seeds 2
    python -m benchmarks.lidar clusters segmenter.safetensors LABELLED

`held-out` takes the checkpoint of an unfinished run: the decoder is not part of a backbone file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from models.artifact import read_artifact
from pretrain.lidar.batches import Asking, asked, collate, within_reach
from pretrain.lidar.decoder import pair_losses
from pretrain.lidar.probe import probe_scans
from pretrain.methods.also import Also, AlsoOptions
from pretrain.methods.base import Setting
from pretrain.settings import PretrainConfig
from pretrain.state import KIND
from stego_app.evaluation.histogram import accumulate
from stego_app.evaluation.scores import hungarian_scores
from stego_app.lidar.labels import NAMES, label_path, read_classes
from stego_app.lidar.readers import find_scans, read_scan
from stego_app.lidar.segmenter import read_lidar_segmenter


def held_out(state: Path, scans: Path) -> str:
    """Occupancy accuracy and intensity error on ``scans`` against the best constants, which are told the answers."""
    from models.lidar.backbone import LidarSpec, random_lidar_backbone

    tensors, header = read_artifact(state, KIND)
    options = AlsoOptions(**header["settings"]["options"])
    spec = LidarSpec(options.voxel, options.widths, options.latent)
    config = PretrainConfig(method="also", data=(scans,), out=state)
    method = Also(random_lidar_backbone(spec, 0), Setting(config, options, 1, np.zeros(1, np.int64), 1, 1))
    prefix = "module/method."
    method.load_state_dict({name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)})
    method.eval()
    asking = Asking(options.rays, options.offset, options.voxel * 2 ** (len(options.widths) - 1))
    rows = []
    for number, path in enumerate(find_scans(scans)):
        scan = within_reach(read_scan(path), options.reach, str(path))
        batch = collate([asked(scan, asking, np.random.default_rng((7, number)))])
        with torch.inference_mode():
            answers, query = method.answer(batch)
        full, known = batch.full[query], batch.query_intensity[query]
        losses = pair_losses(answers, full, known)
        inner = known[known >= 0]
        share = float(full.float().mean())
        constant = float((inner - inner.median()).abs().mean())
        rows.append((float(losses.accuracy), max(share, 1 - share), float(losses.intensity), constant, float(losses.occupancy)))
    accuracy, majority, error, constant, entropy = np.mean(rows, axis=0)
    return "\n".join(
        [
            f"step {header['step']}, {len(rows)} held-out scans",
            "",
            "| | ALSO | best constant |",
            "|---|---|---|",
            f"| occupancy accuracy of pairs, % | {100 * accuracy:.1f} | {100 * majority:.1f} |",
            f"| occupancy cross-entropy | {entropy:.3f} | {_entropy(majority):.3f} |",
            f"| intensity, mean absolute error | {error:.4f} | {constant:.4f} |",
        ]
    )


def _entropy(share: float) -> float:
    return float(-(share * np.log(share) + (1 - share) * np.log(1 - share)))


def probes(backbone: Path, data: Path, seeds: int) -> str:
    """mIoU of linear probes on the trained features and on random starts of the same network."""
    names = [str(backbone), *[f"random:{backbone}"] * seeds]
    rows = ["| features | mIoU % | accuracy % | mIoU of each fold |", "|---|---|---|---|"]
    for number, name in enumerate(names):
        seed = max(0, number - 1)
        found = probe_scans(name, data, None, seed=seed)
        what = "trained" if number == 0 else f"random, seed {seed}"
        rows.append(f"| {what} | {found.scores.miou:.1f} | {found.scores.accuracy:.1f} | {', '.join(f'{miou:.1f}' for miou in found.folds)} |")
    return "\n".join(rows)


def clusters(segmenter: Path, data: Path) -> str:
    """mIoU of unsupervised classes matched to the labelled ones, once over all scans."""
    model = read_lidar_segmenter(segmenter)
    counts = np.zeros((model.clusters.classes, len(NAMES)), np.int64)
    for path in find_scans(data):
        label = label_path(path)
        if label is not None:
            scan = read_scan(path)
            counts += accumulate(model(scan), read_classes(label, scan.total)[scan.rows], model.clusters.classes, len(NAMES))
    scores = hungarian_scores(counts, NAMES)
    return f"{model.clusters.classes} classes, Hungarian: {scores.miou:.1f} % mIoU, {scores.accuracy:.1f} % accuracy"


def main() -> None:
    """Run one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["held-out", "probe", "clusters"])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    if given.table == "held-out":
        print(held_out(given.model, given.data))
    elif given.table == "probe":
        print(probes(given.model, given.data, given.seeds))
    else:
        print(clusters(given.model, given.data))


if __name__ == "__main__":
    main()
