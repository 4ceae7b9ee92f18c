"""``stego probe`` from top to bottom: what a frozen backbone knows, as a table, JSON and pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from models.backbone import Backbone
from models.backbone_sources import load_backbone
from models.errors import StegoError
from pretrain.curate.embedding import Embedder
from pretrain.probe.classes import ClassImages, class_split
from pretrain.probe.dense import DenseScores, DenseSplit, dense_scores, dense_split
from pretrain.probe.images import Described, ImageScore, described, image_scores
from pretrain.probe.pictures import PLAIN, RIGHT, WRONG, Tile, attention_picture, mosaic, patch_components
from pretrain.probe.settings import ProbeSettings
from stego_app.atomic import write_bytes, write_text
from stego_app.data.dataset import evenly
from stego_app.features import device_of
from stego_app.features.similar import most_similar
from stego_app.progress import Progress, silent

Bytes = npt.NDArray[np.uint8]

_NEIGHBOURS = 6


@dataclass
class ProbeReport:
    """What a probe found: rows of the table, and everything else ready for JSON."""

    backbone: str
    about: dict[str, Any]
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    scores: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)

    def as_markdown(self) -> str:
        """The table, with notes below it."""
        lines = ["| probe | features | score |", "|---|---|---|", *(f"| {probe} | {what} | {score} |" for probe, what, score in self.rows)]
        return "\n".join([f"{self.backbone}, block {self.about['block']}, {self.about['resolution']} px", "", *lines, "", *self.notes])

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        failures = [{"file": name, "reason": reason} for name, reason in self.failures]
        return {"backbone": self.backbone, **self.about, "scores": self.scores, "notes": self.notes, "pictures": self.pictures, "failures": failures}


def probe(settings: ProbeSettings, progress: Progress = silent) -> ProbeReport:
    """Score a backbone on a data set and draw what it sees; writes probe.md, probe.json and the pictures to ``settings.out``.

    Features are cached: an interrupted probe goes on where it was.

    Raises:
        StegoError: an unusable backbone or data set, or a folder that cannot be written.
    """
    backbone = load_backbone(settings.backbone, settings.block)
    dense = dense_split(settings.data, settings.layout, settings.labels, settings.limit) if _may_be_dense(settings) else None
    if dense is not None:
        report, images = _probe_patches(settings, backbone, dense, progress)
    else:
        split = class_split(settings.data) if settings.kind != "dense" else None
        if split is None:
            expected = {"dense": "label maps", "classes": "class folders"}.get(settings.kind, "class folders or label maps")
            raise StegoError(f"{settings.data}: expected {expected}, to probe with; there are none")
        report, images = _probe_images(settings, backbone, split, progress)
    if settings.pictures:
        _draw(settings, backbone, images, report)
    write_text(settings.out / "probe.json", json.dumps(report.as_dict(), indent=2) + "\n")
    write_text(settings.out / "probe.md", report.as_markdown() + "\n")
    return report


def _may_be_dense(settings: ProbeSettings) -> bool:
    """Whether label maps are to be looked for: tar files hold classes only."""
    if settings.kind == "classes" or settings.data.is_file() or (settings.data / "train.tar").is_file():
        if settings.kind == "dense" or settings.labels is not None:
            raise StegoError(f"{settings.data}: label maps were asked for; expected a folder of images with labels")
        return False
    return True


def _about(settings: ProbeSettings, backbone: Backbone, resolution: int, split: str, counts: tuple[int, int]) -> dict[str, Any]:
    spec = backbone.spec
    shape = {"architecture": spec.architecture, "method": spec.method, "block": spec.block, "dim": spec.dim, "fingerprint": backbone.fingerprint}
    data = {"data": settings.data.name, "split": split, "train_images": counts[0], "test_images": counts[1], "resolution": resolution}
    return {**shape, **data, "seed": settings.seed}


def _probe_images(
    settings: ProbeSettings, backbone: Backbone, split: tuple[ClassImages, ClassImages, str], progress: Progress
) -> tuple[ProbeReport, list[Bytes]]:
    resolution = settings.class_resolution(backbone)
    embedder = Embedder(backbone, resolution=resolution, device=settings.device, batch_size=settings.batch_size, cache=settings.cache)
    whole = split[0].thinned(settings.limit, settings.seed), split[1].thinned(settings.limit, settings.seed)
    train, test = (described(embedder, part, progress, f"features, {name}") for part, name in zip(whole, ("train", "test"), strict=True))
    scores = image_scores(train, test, progress)
    report = ProbeReport(settings.backbone, _about(settings, backbone, resolution, split[2], (len(train.images), len(test.images))))
    report.rows = [(score.probe, score.feature, f"{score.accuracy:.1f} % accuracy") for score in scores]
    report.scores = _by_probe(scores)
    report.notes.append(f"{len(train.images.names)} classes; {len(train.images)} images to learn from, {len(test.images)} to score on; {split[2]}.")
    report.failures = train.failures + test.failures
    if settings.pictures:
        write_bytes(settings.out / "neighbours.png", _neighbours(train, test, settings.pictures))
        report.pictures.append("neighbours.png")
    shown = evenly(range(len(test.images)), settings.pictures)
    return report, [test.images.read(index) for index in shown]


def _by_probe(scores: Sequence[ImageScore]) -> dict[str, dict[str, float]]:
    return {probe: {score.feature: round(score.accuracy, 2) for score in scores if score.probe == probe} for probe in ("k-NN", "linear")}


def _neighbours(train: Described, test: Described, count: int) -> bytes:
    """Test images with their nearest training images by the CLS token, framed by whether the class is the same."""
    shown = evenly(range(len(test.images)), count)
    similarities, found = most_similar(test.features["cls"][shown], train.features["cls"], _NEIGHBOURS)
    names = train.images.names
    rows: list[list[Tile]] = []
    for line, query in enumerate(shown):
        label = int(test.images.labels[query])
        row: list[Tile] = [(test.images.read(query), names[label], PLAIN)]
        for similarity, index in zip(similarities[line].tolist(), found[line].tolist(), strict=True):
            other = int(train.images.labels[index])
            row.append((train.images.read(index), f"{similarity:.2f} {names[other]}", RIGHT if other == label else WRONG))
        rows.append(row)
    return mosaic(rows)


def _probe_patches(settings: ProbeSettings, backbone: Backbone, split: DenseSplit, progress: Progress) -> tuple[ProbeReport, list[Bytes]]:
    resolution = settings.dense_resolution(backbone)
    scores: DenseScores = dense_scores(
        split, backbone, resolution=resolution, device=settings.device, seed=settings.seed, cache=settings.cache, progress=progress
    )
    report = ProbeReport(settings.backbone, _about(settings, backbone, resolution, split.how, (len(split.train), len(split.test))))
    for name, found in (("linear", scores.linear), ("k-means, Hungarian", scores.kmeans)):
        report.rows.append((name, "patch tokens", f"{found.miou:.1f} % mIoU, {found.accuracy:.1f} % accuracy"))
        report.scores[name] = found.as_dict()
    report.notes.append(f"{len(split.space.names)} classes; {len(split.train)} images to learn from, {len(split.test)} to score on; {split.how}.")
    report.failures = scores.failures
    unusable = {name for name, _ in scores.failures}
    readable = [sample for sample in split.test.samples if str(sample.image) not in unusable]
    shown = evenly(readable, settings.pictures) if settings.pictures else []
    return report, [split.test.read_image(sample) for sample in shown]


def _draw(settings: ProbeSettings, backbone: Backbone, images: Sequence[Bytes], report: ProbeReport) -> None:
    """The pictures that every kind of data has."""
    backbone.to(device_of(settings.device))
    resolution = report.about["resolution"] if settings.resolution else max(report.about["resolution"], min(settings.dense_resolution(backbone), 336))
    png, share = patch_components(backbone, images, resolution)
    write_bytes(settings.out / "components.png", png)
    report.pictures.append("components.png")
    report.notes.append(f"components.png shows {share:.0%} of the variance of the patch tokens of its images.")
    try:
        write_bytes(settings.out / "attention.png", attention_picture(backbone, images, resolution))
        report.pictures.append("attention.png")
    except StegoError as error:
        report.notes.append(f"{error}.")
