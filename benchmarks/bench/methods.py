"""The methods of the table, fitted to cached features without labels."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize

from benchmarks.bench.recipe import recipe_fingerprint
from benchmarks.bench.variants import Reader
from benchmarks.peers.cause import CauseSettings, Concepts, fit_cause, fit_concepts
from benchmarks.peers.kmeans import kmeans_directions
from benchmarks.peers.primaps_em import Masks, PrimapsSettings, all_masks, fit_primaps
from models.backbone import Backbone
from stego_app.discovery import collect_crop_pairs, discover
from stego_app.features import FeatureCache, Resolution
from stego_app.progress import Progress
from stego_app.training.shifts import PUBLISHED, QUANTILE
from stego_app.training.stego import StegoConfig, codes_of, train_stego

TEMPERATURE = 0.1  # of the softmax over scores, for the CRF
KMEANS_TOKENS = 100_000

LINEAR = "linear"
"""The supervised linear probe on the features: a ceiling, not a peer."""
LINEAR_CODES = "linear-detailed-codes"
"""The same on the default's detailed codes; filled with the default's cells."""
DEFAULT = "default"

PRIMAPS = {"primaps-em": PrimapsSettings(), "primaps-em-kmeans": PrimapsSettings(start="kmeans")}
_TR = CauseSettings(head="tr", batch=8, probe_batches=80)
CAUSE = {"cause-mlp": CauseSettings(), "cause-mlp-kmeans": CauseSettings(probe_steps=0), "cause-tr": _TR, "cause-tr-kmeans": replace(_TR, probe_steps=0)}

METHODS = {"k-means on features": "kmeans"}
METHODS |= {f"STEGO, published shifts: {name}": f"stego-{name}" for name in PUBLISHED}
METHODS |= {"STEGO, shifts from the data": f"stego-{QUANTILE}"}
METHODS |= {"PriMaPs-EM": "primaps-em", "PriMaPs-EM from k-means": "primaps-em-kmeans"}
METHODS |= {"CAUSE, MLP head": "cause-mlp", "CAUSE, MLP head, k-means on codes": "cause-mlp-kmeans"}
METHODS |= {"CAUSE, transformer head": "cause-tr", "CAUSE, transformer head, k-means on codes": "cause-tr-kmeans"}
METHODS |= {"default": DEFAULT, "linear probe on features (supervised)": LINEAR, "linear probe on the default's detailed codes": LINEAR_CODES}
"""Row of the table to method."""

PEERS = [method for method in METHODS.values() if method not in {DEFAULT, LINEAR, LINEAR_CODES}]

Tokens = npt.NDArray[np.float32]
Grid = tuple[int, int]
Embed = Callable[[Tokens, Grid], torch.Tensor]
"""Tokens (h·w, C) and grid (h, w) of an image to (h·w, E)."""


@dataclass(frozen=True)
class Fitted:
    """A method fitted to a set.

    Attributes:
        predict: tokens and grid of an image to scores (h·w, K); the largest wins, `TEMPERATURE` is their scale.
        seconds: of the fit.
        record: what else to keep in its cells.
        codes: tokens and grid to codes, where they are to be probed.
    """

    predict: Embed
    seconds: float
    record: dict[str, Any]
    codes: Embed | None = None


@dataclass(frozen=True)
class Job:
    """What a method is fitted to: features of images, and what is needed to see the images again."""

    cache: FeatureCache
    classes: int
    seed: int
    steps: int
    size: Resolution
    backbone: Backbone
    device: str
    read: Reader
    progress: Progress


def method_key(method: str, steps: int) -> str:
    """The method as cells are named: with the settings or the code that decide its value."""
    if method.startswith("stego"):
        return f"{method}-{steps}"
    if method in {DEFAULT, LINEAR_CODES}:
        return f"{method}-{recipe_fingerprint()}"
    if settings := PRIMAPS.get(method) or CAUSE.get(method):
        return f"{method}-{hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode()).hexdigest()[:8]}"
    return method


def fit(method: str, job: Job) -> Fitted:
    """Fit ``method`` without labels."""
    begun = time.perf_counter()
    if method == "kmeans":
        predict, record, codes = *_kmeans(job), None
    elif method == DEFAULT:
        predict, record, codes = _default(job)
    elif method in PRIMAPS:
        predict, record, codes = *_primaps(PRIMAPS[method], job), None
    elif method in CAUSE:
        predict, record, codes = *_cause(CAUSE[method], job), None
    else:
        predict, record, codes = *_stego(method.removeprefix("stego-"), job), None
    return Fitted(predict, time.perf_counter() - begun, record, codes)


def _kmeans(job: Job) -> tuple[Embed, dict[str, Any]]:
    tokens, _ = job.cache.sample(KMEANS_TOKENS, job.seed)
    directions = torch.from_numpy(kmeans_directions(tokens, job.classes, job.seed))
    return lambda tokens, _grid: normalize(torch.from_numpy(tokens), dim=1) @ directions.T, {}


def _default(job: Job) -> tuple[Embed, dict[str, Any], Embed]:
    paths = list(dict.fromkeys(job.cache.paths))
    pairs = collect_crop_pairs(paths, job.backbone, resolution=job.size, seed=job.seed, device=job.device, brighten=True, read=job.read, progress=job.progress)
    found = discover(job.cache, pairs, classes=job.classes, seed=job.seed, progress=job.progress)
    model = found.model

    def predict(tokens: Tokens, _grid: Grid) -> torch.Tensor:
        # Log-probabilities over the temperature's scale, so that one read-out serves all methods.
        return model.class_probabilities(torch.from_numpy(tokens), job.classes).clamp(min=1e-12).log() * TEMPERATURE

    record = {"notes": list(found.notes), "recipe": recipe_fingerprint()}
    return predict, record, lambda tokens, _grid: model.detailed_codes(torch.from_numpy(tokens))


_MASKS: dict[tuple[object, ...], Masks] = {}
"""Masks by images: fits with other seeds share them."""


def _primaps(settings: PrimapsSettings, job: Job) -> tuple[Embed, dict[str, Any]]:
    key = settings.threshold, settings.coverage, job.backbone.fingerprint, str(job.size), tuple(job.cache.keys)
    if key not in _MASKS:
        _MASKS[key] = all_masks(job.cache, settings, job.progress)
    prototypes = fit_primaps(job.cache, _MASKS[key], job.classes, settings, seed=job.seed, progress=job.progress)

    def predict(tokens: Tokens, _grid: Grid) -> torch.Tensor:
        return prototypes.logits(torch.from_numpy(tokens)).log_softmax(1) * TEMPERATURE

    return predict, {"settings": asdict(settings), "gain": prototypes.gain.tolist()}


_CONCEPTS: dict[tuple[object, ...], Concepts] = {}
"""Codebook and head of the last fit: the two probes share them."""


def _cause(settings: CauseSettings, job: Job) -> tuple[Embed, dict[str, Any]]:
    key = replace(settings, probe_steps=0), job.seed, job.backbone.fingerprint, str(job.size), tuple(job.cache.keys)
    if key not in _CONCEPTS:
        _CONCEPTS.clear()
        _CONCEPTS[key] = fit_concepts(job.cache, settings, seed=job.seed, progress=job.progress)
    model = fit_cause(job.cache, _CONCEPTS[key], job.classes, settings, seed=job.seed, progress=job.progress)
    record = {"settings": asdict(settings), "losses": {stage: losses[:: max(1, len(losses) // 20)] for stage, losses in model.losses.items()}}
    return lambda tokens, grid: model.scores(torch.from_numpy(tokens), grid), record


def _stego(shifts: str, job: Job) -> tuple[Embed, dict[str, Any]]:
    config = StegoConfig(shifts=shifts, steps=job.steps)
    result = train_stego(job.cache, job.classes, config, seed=job.seed, device=job.device, progress=job.progress)
    clusters = torch.from_numpy(result.clusters)
    record = {
        "shifts": dict(result.histograms.shifts),
        "agreement": result.histograms.agreement,
        "above": dict(result.histograms.above),
        "config": config.model_dump(),
    }
    return lambda tokens, _grid: torch.from_numpy(codes_of(result.head, tokens)) @ clusters.T, record
