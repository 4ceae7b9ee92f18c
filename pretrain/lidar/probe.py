"""``stego probe`` on scans: how much of the classes of points can be read off a frozen lidar backbone linearly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.errors import StegoError
from models.lidar.backbone import LidarBackbone, load_lidar_backbone
from stego_app.atomic import write_text
from stego_app.evaluation.histogram import accumulate
from stego_app.evaluation.linear_probe import fit_linear_probe
from stego_app.evaluation.scores import Scores, matched_scores
from stego_app.features import device_of
from stego_app.lidar.features import point_features
from stego_app.lidar.labels import NAMES, VOID, label_path, read_classes
from stego_app.lidar.readers import find_scans, read_scan
from stego_app.progress import Progress, silent

FOLDS = 4
POINTS = 30_000
"""Points a probe is learnt from, at most, drawn at random: bounds time."""


@dataclass(frozen=True)
class LabelledPoints:
    """Points of labelled scans that are not void: ``features`` (n, C), ``classes`` (n,), the ``fold`` (n,) each is scored in, and how folds were made."""

    features: torch.Tensor
    classes: npt.NDArray[np.uint8]
    fold: npt.NDArray[np.int64]
    how: str
    failures: list[tuple[str, str]]


@dataclass(frozen=True)
class LidarProbe:
    """Scores over all folds together, and the mIoU of each."""

    backbone: str
    scores: Scores
    folds: list[float]
    how: str
    failures: list[tuple[str, str]] = field(default_factory=list)

    def as_markdown(self) -> str:
        """The table."""
        each = ", ".join(f"{miou:.1f}" for miou in self.folds)
        rows = [f"| {name} | {iou:.1f} |" for name, iou in zip(self.scores.names, self.scores.per_class, strict=True) if iou is not None]
        head = f"| linear, points | {self.scores.miou:.1f} % mIoU, {self.scores.accuracy:.1f} % accuracy |"
        return "\n".join([self.backbone, "", "| probe | score |", "|---|---|", head, *rows, "", f"{self.how}; mIoU of each: {each}."])

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        failures = [{"file": name, "reason": reason} for name, reason in self.failures]
        return {"backbone": self.backbone, "linear": self.scores.as_dict(), "folds": self.folds, "how": self.how, "failures": failures}


def probe_scans(backbone: str, data: Path, out: Path | None, *, device: str = "auto", seed: int = 0, progress: Progress = silent) -> LidarProbe:
    """Score ``backbone``, as `models.lidar.backbone.load_lidar_backbone` takes it, on labelled scans; writes probe.json and probe.md to ``out``.

    Raises:
        StegoError: an unusable backbone, no labelled scan, or a folder that cannot be written.
    """
    where = device_of(device)
    network = load_lidar_backbone(backbone, seed).to(where)
    points = labelled_points(network, data, str(where), progress)
    found = LidarProbe(backbone, *cross_scores(points, seed, progress), points.how, points.failures)
    if out is not None:
        write_text(out / "probe.json", json.dumps(found.as_dict(), indent=2) + "\n")
        write_text(out / "probe.md", found.as_markdown() + "\n")
    return found


def labelled_points(network: LidarBackbone, data: Path, device: str, progress: Progress = silent) -> LabelledPoints:
    """Features and classes of the labelled scans of ``data``.

    Of several scans each lies in one fold; a single one is split into sectors by azimuth.

    Raises:
        StegoError: no scan with labels can be used.
    """
    labelled = [(scan, label) for scan in find_scans(data) if (label := label_path(scan)) is not None]
    if not labelled:
        raise StegoError(f"{data}: no scan has labels; expected SemanticKITTI's .label files beside the scans, or in labels/ next to velodyne/")
    features: list[torch.Tensor] = []
    classes: list[npt.NDArray[np.uint8]] = []
    places: list[npt.NDArray[np.float32]] = []
    failures: list[tuple[str, str]] = []
    for number, (path, label) in enumerate(labelled, 1):
        try:
            scan = read_scan(path)
            known = read_classes(label, scan.total)[scan.rows]
        except StegoError as error:
            failures.append((str(path), str(error)))
            continue
        kept = np.flatnonzero(known != VOID)
        features.append(point_features(network, scan, device)[torch.from_numpy(kept)])
        classes.append(known[kept])
        places.append(scan.points[kept])
        progress("features of scans", number, len(labelled))
    if not sum(map(len, classes)):
        raise StegoError(f"{data}: no labelled point can be used" + (f"; {failures[-1][1]}" if failures else ""))
    if len(classes) > 1:
        fold = np.concatenate([np.full(len(part), number % FOLDS) for number, part in enumerate(classes)])
        how = f"{len(classes)} scans in {min(FOLDS, len(classes))} folds"
    else:
        fold, how = sectors(places[0]), f"one scan in {FOLDS} sectors of azimuth, each scored by a probe of the others"
    return LabelledPoints(torch.cat(features), np.concatenate(classes), fold, how, failures)


def sectors(points: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The sector (N,) of azimuth of each point, 0 to `FOLDS` - 1; the first begins straight behind."""
    turn = (np.arctan2(points[:, 1], points[:, 0]) + np.pi) / (2 * np.pi)
    found: npt.NDArray[np.int64] = np.minimum((turn * FOLDS).astype(np.int64), FOLDS - 1)
    return found


def cross_scores(points: LabelledPoints, seed: int, progress: Progress = silent) -> tuple[Scores, list[float]]:
    """Each fold scored by a probe of the others: scores of all points together, and the mIoU of each fold."""
    total = np.zeros((len(NAMES), len(NAMES)), np.int64)
    each: list[float] = []
    folds: Sequence[int] = np.unique(points.fold).tolist()
    for number, fold in enumerate(folds, 1):
        learnt = np.random.default_rng((seed, fold)).permutation(np.flatnonzero(points.fold != fold))[:POINTS]
        if not len(learnt):
            raise StegoError("a probe needs labelled points outside the fold it is scored on; there are none")
        probe = fit_linear_probe(points.features[torch.from_numpy(learnt)], torch.from_numpy(points.classes[learnt].astype(np.int64)), len(NAMES))
        scored = np.flatnonzero(points.fold == fold)
        said = probe.logits(points.features[torch.from_numpy(scored)]).argmax(dim=1).numpy()
        counts = accumulate(said, points.classes[scored], len(NAMES), len(NAMES))
        each.append(matched_scores(counts, np.arange(len(NAMES)), NAMES).miou)
        total += counts
        progress("probing points", number, len(folds))
    return matched_scores(total, np.arange(len(NAMES)), NAMES), each
