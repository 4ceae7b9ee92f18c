"""``stego train`` from top to bottom: images, features, classes, segmenter file, report."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field

from models.backbone_sources import load_backbone
from models.errors import StegoError
from stego_app import LARGEST_SEED
from stego_app.atomic import check_place, refuse_folder
from stego_app.classes import class_table
from stego_app.clusters import ClusterModel
from stego_app.confidence.fit import fit_agreement
from stego_app.data import Dataset, LabelRule, Sample, open_dataset
from stego_app.discovery import DiscoverySettings, discover
from stego_app.discovery.pair_cache import cached_crop_pairs
from stego_app.features import Failure, FeatureCache, NothingReadError
from stego_app.features.location import default_cache_folder
from stego_app.features.neighbours import nearest_images
from stego_app.insights.insight import short_lines
from stego_app.insights.stability import Refit
from stego_app.naming.prototypes import cluster_prototypes
from stego_app.progress import Progress, silent
from stego_app.report.explanation import Explanation
from stego_app.report.html import reduced
from stego_app.report.training_report import Histograms, TrainingReport, write_report
from stego_app.segmentation import MAX_CLASSES
from stego_app.segmenter import Segmenter
from stego_app.segmenter_file import SegmenterModel, SegmenterSettings, save_segmenter
from stego_app.shard import Shard
from stego_app.training.calibration import PairHistograms, choose_shifts
from stego_app.training.collapse import find_collapse
from stego_app.training.fine_clusters import split_classes
from stego_app.training.shifts import check_shifts
from stego_app.training.stego import StegoConfig, codes_of, train_stego
from stego_app.training_input import Tell, TrainingInput, log, training_input
from stego_app.training_insights import explain_training, recluster, rediscovery
from stego_app.training_scores import training_scores

_SAMPLES = 8
_CHECKED_TOKENS = 20_000
_SHARE_TOKENS = 100_000
FINE_STEGO = 64
"""Fine clusters beneath the classes of STEGO's own objective, about."""

DEFAULT_CLASSES_STEGO = 27
"""What ``--classes auto`` means for STEGO's own objective, which has no way to choose: the number of its benchmarks."""


_OTHER = {"auto": "shifts and steps belong to --objective stego", "stego": "it belongs to --objective auto"}


class TrainConfig(BaseModel):
    """Everything that decides a training run; stored whole in the segmenter file.

    Attributes:
        data: folder of images, or of a data set in a published layout.
        layout, split, labels: see `stego_app.data.open_dataset`.
        backbone, block: see `models.backbone_sources.load_backbone`.
        objective: "auto" (the shift-free correspondence loss, nothing to tune) or "stego" (the paper's).
        classes: how many, or "auto".
        resolution: short side for the backbone, in pixels, or "auto": see `stego_app.features.detail`.
        brighten: dark images, before the backbone sees them; false where darkness is what tells things apart.
        crops: "five" to take features from STEGO's five crops of each image.
        seed: the same seed gives the same file on the same machine.
        discovery, stego: settings of the two objectives.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path
    layout: str = "auto"
    split: str | None = None
    labels: Path | None = None
    backbone: str = "default"
    block: int | None = Field(default=None, ge=0)
    objective: Literal["auto", "stego"] = "auto"
    classes: Annotated[int, Field(ge=1, le=MAX_CLASSES)] | Literal["auto"] = "auto"
    resolution: Annotated[int, Field(ge=28, le=4096)] | Literal["auto"] = "auto"
    brighten: bool = True
    crops: Literal["none", "five"] = "none"
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    cache: Path | None = None
    batch_size: int = Field(default=8, ge=1)
    discovery: DiscoverySettings = DiscoverySettings()
    stego: StegoConfig = StegoConfig()


@dataclass(frozen=True)
class TrainResult:
    """What a run leaves: the file, its report, what to know about it, and (file, reason) of images and labels that could not be read."""

    out: Path
    report: Path
    classes: int
    fine: int
    findings: Sequence[str]
    failures: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class _Found:
    """Clusters, by whichever objective."""

    clusters: ClusterModel
    refit: Refit
    notes: Sequence[str] = ()
    losses: dict[str, list[float]] = field(default_factory=dict)
    histograms: PairHistograms | None = None
    threshold: float | None = None


def train_segmenter(config: TrainConfig, out: Path, *, report: Path | None = None, progress: Progress = silent, tell: Tell = log.info) -> TrainResult:
    """Train a segmenter on ``config.data``, write it to ``out`` and its report into a folder beside it.

    Nothing about the result is chosen with labels: where there are some, they only fill a table of the report. ``tell`` hears, before it begins, of
    what makes the work longer.

    Raises:
        StegoError: anything a user can mend: no images, an unknown backbone, too many classes, a full disk …
    """
    unused = {"auto": "stego", "stego": "discovery"}[config.objective]
    if unused in config.model_fields_set:
        raise StegoError(f"setting '{unused}': means nothing to the objective '{config.objective}'; " + _OTHER[config.objective])
    if config.objective == "stego":
        check_shifts(config.stego.shifts)
    if out.suffix != ".safetensors":
        raise StegoError(f"--out {out}: expected a name that ends in .safetensors")
    folder = report or out.with_suffix(".report")
    refuse_folder(out, "plants.safetensors")
    check_place(out)
    if folder.exists() and not folder.is_dir():
        raise StegoError(f"--report {folder}: is a file; expected a folder")
    dataset = open_dataset(config.data, split=config.split, layout=config.layout, labels=config.labels)
    given = training_input(dataset, load_backbone(config.backbone, config.block), config.resolution, progress, tell)
    cache = _features(config, given, progress)
    found = _find(config, given, cache, progress)
    model = _segmenter_model(config, given, cache, found, progress)
    save_segmenter(out, model)
    warnings = collapse_warnings(model, cache, config.seed, config.objective)
    segmenter = Segmenter(model, device=config.device, precision=config.precision)
    explanation = _explanation(config, segmenter, dataset, cache, found, out, progress)
    page, failures = _report(config, segmenter, dataset, cache, found, explanation, warnings, folder, progress)
    findings = [*warnings, *found.notes, *short_lines(explanation.sections)]
    return TrainResult(out, page, found.clusters.classes, len(model.shares), findings, failures)


@dataclass(frozen=True)
class PartResult:
    """What a part of a training has computed: ``found`` features, of a data set of ``images``; ``failures``: (file, reason) of those not read."""

    found: int
    images: int
    failures: Sequence[tuple[str, str]] = ()


def compute_features(config: TrainConfig, shard: Shard, progress: Progress = silent, tell: Tell = log.info) -> PartResult:
    """Put the features of one part of ``config.data`` into the cache, for a training that then finds them.

    Parts may be computed at the same time, by processes or machines that share the cache's folder.

    Raises:
        StegoError: see `train_segmenter`; but that a part has no image that can be read is a result.
    """
    dataset = open_dataset(config.data, split=config.split, layout=config.layout, labels=config.labels)
    part = replace(dataset, samples=[sample for sample in dataset.samples if shard.takes(sample.key)])
    images = len(dataset.samples)
    if not part.samples:
        return PartResult(0, images)
    # The size is that of the whole, so that all parts and the training take the same.
    given = training_input(dataset, load_backbone(config.backbone, config.block), config.resolution, progress, tell)
    try:
        cache = _features(config, replace(given, dataset=part), progress)
    except NothingReadError as error:
        return PartResult(0, images, _named(error.failures))
    return PartResult(len(cache), images, _named(cache.failures))


def _named(failures: Sequence[Failure]) -> list[tuple[str, str]]:
    return [(str(failure.path), failure.reason) for failure in failures]


def fit_clusters(config: TrainConfig, images: Sequence[Path], progress: Progress = silent, tell: Tell = log.info) -> SegmenterModel:
    """Classes of ``images`` in closed form: no gradient step, no report, no file. ``config.data`` only names where they come from.

    Raises:
        StegoError: see `train_segmenter`.
    """
    closed = config.model_copy(update={"discovery": config.discovery.model_copy(update={"head": "lookup"})})
    samples = [Sample(path, path.with_suffix("").as_posix()) for path in images]
    dataset = Dataset("images", config.data, samples, None, LabelRule.plain(None))
    given = training_input(dataset, load_backbone(config.backbone, config.block), config.resolution, progress, tell)
    cache = _features(closed, given, progress)
    return _segmenter_model(closed, given, cache, _find(closed, given, cache, progress), progress)


def _features(config: TrainConfig, given: TrainingInput, progress: Progress) -> FeatureCache:
    return FeatureCache.build(
        [sample.image for sample in given.dataset.samples],
        given.backbone,
        resolution=given.resolution,
        crops=config.crops,
        device=config.device,
        precision=config.precision,
        brighten=config.brighten,
        batch_size=config.batch_size,
        folder=config.cache,
        read=given.dataset.reader(),
        progress=progress,
    )


def _find(config: TrainConfig, given: TrainingInput, cache: FeatureCache, progress: Progress) -> _Found:
    """Clusters by the objective asked for, with what there is to know of them and of the input."""
    found = _stego(config, cache, progress) if config.objective == "stego" else _discovered(config, given, cache, progress)
    return replace(found, notes=[*given.notes, *found.notes])


def _discovered(config: TrainConfig, given: TrainingInput, cache: FeatureCache, progress: Progress) -> _Found:
    by_path = dict(zip(cache.paths, cache.keys, strict=True))
    pairs = cached_crop_pairs(
        config.cache or default_cache_folder(),
        [key.split("#")[0] for key in by_path.values()],
        list(by_path),
        given.backbone,
        resolution=given.resolution,
        seed=config.seed,
        device=config.device,
        precision=config.precision,
        brighten=config.brighten,
        read=given.dataset.reader(),
        progress=progress,
    )
    classes = None if config.classes == "auto" else config.classes
    discovery = discover(cache, pairs, classes=classes, seed=config.seed, settings=config.discovery, progress=progress)
    losses = {"cosine to the target code": discovery.losses} if discovery.losses else {}
    refit = rediscovery(cache, pairs, discovery.model.classes, discovery.way, config.discovery)
    return _Found(discovery.model, refit, discovery.notes, losses, threshold=discovery.threshold)


def _stego_classes(config: TrainConfig) -> int:
    """How many classes STEGO's own objective is given."""
    return DEFAULT_CLASSES_STEGO if config.classes == "auto" else config.classes


def _stego(config: TrainConfig, cache: FeatureCache, progress: Progress) -> _Found:
    classes = _stego_classes(config)
    states = (config.cache or default_cache_folder()) / "training"
    result = train_stego(cache, classes, config.stego, seed=config.seed, device=config.device, state_folder=states, progress=progress)
    tokens, _ = cache.sample(_CHECKED_TOKENS, config.seed)
    fine, merges = split_classes(codes_of(result.head, tokens), result.clusters, FINE_STEGO, config.seed)
    clusters = ClusterModel(
        mean=torch.zeros(cache.dim),
        metric=torch.eye(cache.dim),
        head=result.head,
        fine=torch.from_numpy(fine),
        temperature=0.1,
        merges=merges,
        classes=classes,
    )
    return _Found(clusters, recluster(cache, clusters, classes), [], {name: values for name, values in result.losses.items() if values}, result.histograms)


def _segmenter_model(config: TrainConfig, given: TrainingInput, cache: FeatureCache, found: _Found, progress: Progress) -> SegmenterModel:
    provenance: dict[str, Any] = {
        "objective": config.objective,
        "config": _stored(config),
        "images": len(set(cache.paths)),
        "data_fingerprint": data_fingerprint(cache),
        "notes": list(found.notes),
    }
    shares = cluster_shares(found.clusters, cache, config.seed)
    prototypes = cluster_prototypes(found.clusters, cache.sample(_SHARE_TOKENS, config.seed)[0])
    agreement = fit_agreement(found.clusters, cache, seed=config.seed, progress=progress)
    settings = SegmenterSettings(resolution=given.resolution, brighten=config.brighten)
    return SegmenterModel(given.backbone, config.backbone, found.clusters, shares, settings, (), provenance, agreement, prototypes)


def _stored(config: TrainConfig) -> dict[str, Any]:
    """The settings as they are kept: without the other objective's, and without those of the machine, which decide nothing and are nobody else's business."""
    return config.model_dump(mode="json", exclude={{"auto": "stego", "stego": "discovery"}[config.objective], "cache", "device"})


def data_fingerprint(cache: FeatureCache) -> str:
    """16 hex digits that name the set of images, whatever their order or names."""
    import hashlib

    return hashlib.sha256("|".join(sorted(cache.keys)).encode()).hexdigest()[:16]


def cluster_shares(clusters: ClusterModel, cache: FeatureCache, seed: int) -> npt.NDArray[np.float64]:
    """Share (F,) of patches whose nearest fine cluster is each one, estimated on a sample so that it costs the same for any number of images."""
    tokens, _ = cache.sample(_SHARE_TOKENS, seed)
    nearest = torch.cat([clusters.fine_logits(part).argmax(dim=1) for part in torch.split(torch.from_numpy(tokens), 16_384)])
    counts = np.bincount(nearest.numpy(), minlength=len(clusters.fine))
    return np.asarray(counts / counts.sum(), dtype=np.float64)


def collapse_warnings(model: SegmenterModel, cache: FeatureCache, seed: int, objective: str) -> list[str]:
    """Signs that the classes say little about the images, in plain words."""
    table = class_table(model.clusters.merges, model.shares, (), model.clusters.classes)
    tokens, _ = cache.sample(_CHECKED_TOKENS, seed)
    codes = model.clusters.codes(torch.from_numpy(tokens)).numpy()
    shares = np.array([entry.share for entry in table.classes])
    return [finding.text for finding in find_collapse(shares, tokens, codes, objective)]


def _explanation(config: TrainConfig, segmenter: Segmenter, dataset: Dataset, cache: FeatureCache, found: _Found, out: Path, progress: Progress) -> Explanation:
    return explain_training(
        segmenter,
        cache,
        found.refit,
        dataset.reader(),
        out,
        threshold=found.threshold,
        objective=config.objective,
        seed=config.seed,
        progress=progress,
    )


def _report(
    config: TrainConfig,
    segmenter: Segmenter,
    dataset: Dataset,
    cache: FeatureCache,
    found: _Found,
    explanation: Explanation,
    warnings: Sequence[str],
    folder: Path,
    progress: Progress,
) -> tuple[Path, Sequence[tuple[str, str]]]:
    model = segmenter.model
    samples = []
    chosen = dataset.samples[:: max(1, len(dataset.samples) // _SAMPLES)][:_SAMPLES]
    unreadable = {failure.path for failure in cache.failures}
    for number, sample in enumerate(chosen):
        if sample.image not in unreadable:
            with suppress(StegoError):  # the file was there for its features and is gone: one sample fewer to look at
                image = dataset.read_image(sample)
                samples.append((sample.key, reduced(image), reduced(segmenter(image).overlay())))
        progress("report", number + 1, len(chosen))
    scored = training_scores(model.clusters, dataset, cache, model.shares, seed=config.seed, progress=progress)
    histograms = found.histograms or _histograms(config, cache)
    shown = Histograms(histograms.edges, histograms.densities, histograms.shifts, f"shifts: {histograms.source}") if histograms else None
    failures = [*_named(cache.failures), *scored.failures]
    images = len(set(cache.paths))
    classes = f"{len(segmenter.table().classes)} classes of {segmenter.max_classes} fine clusters"
    lead = f"{images} images, {classes}, objective {config.objective}. No label was used in training."
    page = write_report(
        folder,
        TrainingReport(
            title=f"Classes of {config.data.name}",
            lead=lead,
            table=segmenter.table(),
            warnings=warnings,
            notes=[*found.notes, *scored.notes],
            samples=samples,
            config=config.model_dump(mode="json"),
            explanation=explanation,
            histograms=shown,
            losses=found.losses,
            scores=scored.rows,
            failures=failures,
        ),
    )
    return page, failures


def _histograms(config: TrainConfig, cache: FeatureCache) -> PairHistograms | None:
    """The three pair kinds as STEGO's objective would see them, with the shifts it would be given; None for a single image."""
    if len(cache) < 2:
        return None
    neighbours = nearest_images(cache.pooled, min(config.stego.neighbours, len(cache) - 1))
    classes = min(_stego_classes(config), sum(len(cache.tokens(index)) for index in range(len(cache))))
    return choose_shifts("quantile", cache, neighbours, classes, points=config.stego.side**2, batch=config.stego.batch, seed=config.seed)[1]
