"""The stages after the data: train each objective, score its clusters and its linear probes, one table."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.published.data import open_splits, split_of
from benchmarks.published.linear import CODES, FEATURES, linear_probe_scores
from benchmarks.published.protocol import CentreCropped, crop_side, published_miou
from benchmarks.published.recipes import Recipe, published_rows
from benchmarks.published.stages import digest, run_stage
from benchmarks.published.table import results_table
from models.backbone import Backbone
from models.errors import StegoError
from stego_app import Segmenter
from stego_app.atomic import write_bytes
from stego_app.data import Dataset
from stego_app.evaluation import EvaluationSettings, evaluate_segmenter
from stego_app.features.extract import input_size
from stego_app.progress import Progress
from stego_app.settings import load_settings
from stego_app.training_run import TrainConfig, train_segmenter

OBJECTIVES = ("auto", "stego")
_HALF = 2  # bytes of a number in the feature cache
_SIZED = 16  # images looked at to estimate the size of the cache


@dataclass(frozen=True)
class Run:
    """One data set with one backbone.

    Attributes:
        recipe: of the data set.
        data: its folder.
        backbone, block: as `load_backbone` takes them.
        out: folder of the results.
        cache: folder of the feature caches, one for each objective; they may be deleted once both are trained.
        images: images of the training split, evenly spaced; None for all.
        val_images: of the validation split, likewise.
        steps: of STEGO's objective.
        seed: of everything drawn.
        device: auto, cpu, cuda or mps.
        workers: processes for the CRF; one a core if None.
    """

    recipe: Recipe
    data: Path
    backbone: str
    block: int | None
    out: Path
    cache: Path
    images: int | None
    val_images: int | None
    steps: int
    seed: int
    device: str
    workers: int | None

    def settings(self, objective: str) -> TrainConfig:
        """What ``stego train`` would be given."""
        recipe = self.recipe
        given: dict[str, Any] = {
            "data": str(self.data),
            "layout": recipe.layout,
            "split": split_of(recipe.train_split, self.images),
            "backbone": self.backbone,
            "block": self.block,
            "objective": objective,
            "classes": recipe.classes,
            "seed": self.seed,
            "device": self.device,
            "cache": str(self.cache / objective),
        }
        if objective == "auto":
            given |= recipe.auto.model_dump()
        else:
            own = recipe.stego
            given |= {"crops": own.crops, "resolution": own.resolution, "stego.shifts": own.shifts_for(self.backbone)}
            given |= {"stego.steps": self.steps, "stego.batch": own.batch, "stego.code_dim": own.code_dim}
        return load_settings(TrainConfig, file=None, overrides=[], fields=given)

    def title(self, objective: str) -> str:
        """How the table calls it."""
        return "default, label-free" if objective == "auto" else f"STEGO's objective here, published shifts ({self.recipe.stego.shifts_for(self.backbone)})"


def benchmark(run: Run, backbone: Backbone, say: Callable[[str], None], progress: Progress) -> str:
    """All stages after the data, with the ``backbone`` that ``run`` names; the table.

    Raises:
        StegoError: anything a user can mend.
    """
    train, val = open_splits(run.recipe, run.data, run.images, run.val_images)
    say(f"data: {len(train)} images to train on, {len(val)} to score")
    results = {}
    for objective in OBJECTIVES:
        settings = run.settings(objective)
        model, identity = _train(run, objective, settings, train, backbone, say, progress)
        side = crop_side(run.recipe.side, backbone.patch_size)
        cropped = CentreCropped.of(train, side), CentreCropped.of(val, side)
        results[run.title(objective)] = {
            "clusters": _clusters(run, objective, model, identity, cropped[1], say, progress),
            "linear": _linear(run, objective, model, identity, cropped, say, progress),
        }
    note = f"Here: trained on {len(train)} images, scored on {len(val)}, block {backbone.spec.block} of {run.backbone}, seed {run.seed}."
    table = results_table(run.recipe, published_rows(run.recipe.name), run.backbone, results, note)
    write_bytes(run.out / "results.md", table.encode())
    return table


def _train(
    run: Run, objective: str, settings: TrainConfig, train: Dataset, backbone: Backbone, say: Callable[[str], None], progress: Progress
) -> tuple[Path, dict[str, Any]]:
    """The segmenter file, and what decided it."""
    folder = run.out / f"train-{objective}"

    def work() -> dict[str, Any]:
        check_disk(settings, train, backbone, run.cache / objective)
        result = train_segmenter(settings, folder / "segmenter.safetensors", report=folder / "report", progress=progress)
        for finding in result.findings:
            say(f"  {finding}")
        return {"classes": result.classes, "fine": result.fine}

    identity = {"settings": settings.model_dump(mode="json", exclude={"cache", "device"}), "backbone": backbone.fingerprint, "images": len(train)}
    run_stage(folder, identity, ["segmenter.safetensors"], work, say)
    return folder / "segmenter.safetensors", identity | {"segmenter": digest(folder / "segmenter.safetensors")}


def _clusters(
    run: Run, objective: str, model: Path, identity: Mapping[str, Any], val: Dataset, say: Callable[[str], None], progress: Progress
) -> dict[str, Any]:
    """Hungarian scores by variant: plain, flip, flip+crf."""
    found: dict[str, Any] = {}
    for flip, crf, variants in ((False, "off", {"hungarian": "plain"}), (True, "both", {"hungarian": "flip", "hungarian_crf": "flip+crf"})):
        folder = run.out / f"eval-{objective}{'-flip-crf' if flip else ''}"
        settings = EvaluationSettings(
            classes=run.recipe.classes, crf=crf, flip=flip, linear_probe=False, resolution=_side(val), window=0, workers=run.workers, seed=run.seed
        )

        def work(settings: EvaluationSettings = settings, folder: Path = folder, variants: Mapping[str, str] = variants) -> dict[str, Any]:
            report = evaluate_segmenter(Segmenter.load(model, device=run.device), val, settings, folder, progress)
            if report.failures:
                raise StegoError(f"{report.failures[0][1]}; {len(report.failures)} of {len(val)} images could not be scored")
            return {
                name: {"miou": published_miou(report.scores[key]), "miou_of_labelled": report.scores[key].miou, "accuracy": report.scores[key].accuracy}
                for key, name in variants.items()
            }

        inputs = {"train": identity, "val": [val.name, len(val)], "flip": flip, "crf": crf}
        found |= run_stage(folder, inputs, ["scores.json"], work, say)
    return found


def _linear(
    run: Run,
    objective: str,
    model: Path,
    identity: Mapping[str, Any],
    cropped: tuple[Dataset, Dataset],
    say: Callable[[str], None],
    progress: Progress,
) -> dict[str, Any]:
    train, val = cropped
    # The features are the same for every objective: they are probed once.
    probed = (FEATURES, CODES) if objective == OBJECTIVES[0] else (CODES,)

    def work() -> dict[str, dict[str, float]]:
        segmenter = Segmenter.load(model, device=run.device)
        return linear_probe_scores(
            segmenter, train, val, probed=probed, side=_side(val), images=run.recipe.probe_images, seed=run.seed, workers=run.workers, progress=progress
        )

    inputs = {"train": identity, "val": [val.name, len(val)], "images": run.recipe.probe_images, "probed": probed}
    return run_stage(run.out / f"linear-{objective}", inputs, [], work, say)


def _side(val: Dataset) -> int:
    assert isinstance(val, CentreCropped)
    return val.side


def check_disk(settings: TrainConfig, train: Dataset, backbone: Backbone, cache: Path) -> None:
    """Check that the features of the training images fit on the disk, before hours of work.

    Raises:
        StegoError: they do not; says how much is missing and what helps.
    """
    cache.mkdir(parents=True, exist_ok=True)
    needed = cache_bytes(settings, train, backbone)
    held = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    free = shutil.disk_usage(cache).free
    if needed - held > free:
        raise StegoError(
            f"{cache}: the disk has {free / 1e9:.0f} GB free; the features of {len(train)} images need {(needed - held) / 1e9:.0f} GB more; "
            f"name another disk with --cache, or train on fewer with --images {max(1, int(len(train) * 0.9 * (free + held) / needed))}"
        )


def cache_bytes(settings: TrainConfig, train: Dataset, backbone: Backbone) -> int:
    """About how many bytes the features of ``train`` take, from the sizes of a few of its images."""
    chosen = train.samples[:: max(1, len(train) // _SIZED)][:_SIZED]
    patches = []
    for sample in chosen:
        height, width = train.read_image(sample).shape[:2]
        high, wide = input_size(height, width, settings.resolution, backbone.patch_size)
        patches.append(high // backbone.patch_size * (wide // backbone.patch_size))
    views = 5 if settings.crops == "five" else 1
    return round(sum(patches) / len(patches) * len(train) * views * backbone.dim * _HALF)
