"""Cells of the table as JSON files: what is there is never computed again, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.bench.methods import DEFAULT, LINEAR, LINEAR_CODES, Fitted, Job, fit, method_key
from benchmarks.bench.scoring import Labelled, plain, probe, score
from benchmarks.bench.tasks import Task, size_asked_for
from benchmarks.bench.variants import variant_folder
from models.backbone import Backbone
from models.errors import StegoError
from stego_app.atomic import write_bytes
from stego_app.data import open_dataset
from stego_app.features import FeatureCache, Resolution
from stego_app.progress import Progress

_OF_THE_DEFAULT = frozenset({DEFAULT, LINEAR_CODES})


@dataclass(frozen=True)
class Setting:
    """What the whole table is made with.

    Attributes:
        data: folder of the sets.
        results: folder of the cells; variants are written below it.
        backbone: the features.
        resolution: of all sets, instead of each task's own.
        steps: of STEGO's objective.
        brighten: show dark images brightened to all methods; the default always sees them so, since that is part of it.
        cache: folder of the features.
        device: of backbone and STEGO.
        progress: of long work.
    """

    data: Path
    results: Path
    backbone: Backbone
    resolution: Resolution | None
    steps: int
    brighten: bool
    cache: Path | None
    device: str
    progress: Progress

    def size(self, task: Task) -> Resolution:
        """What the backbone sees of the task's images."""
        return self.resolution or task.size or size_asked_for(self.data / task.folder, self.backbone.patch_size)

    def features(self, task: Task, split: str | None, method: str) -> Labelled:
        """The images of a split with their features, as ``method`` is shown them."""
        brighten = self.brighten or method in _OF_THE_DEFAULT
        folder = variant_folder(task.folder, self.data, self.results / "variants") if task.variant else self.data / task.folder
        dataset = open_dataset(folder, split=split)
        paths = [sample.image for sample in dataset.labelled]
        if not paths:
            raise StegoError(f"{folder}: no image has a label; expected labels to score against")
        build = partial(FeatureCache.build, paths, self.backbone, resolution=self.size(task), device=self.device, brighten=brighten, folder=self.cache)
        return dataset, build(read=dataset.reader(), progress=self.progress)


def cell_path(setting: Setting, task: Task, method: str, seed: int, crf: bool) -> Path:
    """The file of one cell; its name holds everything that decides its value but the version of the program and, for peers, of their code."""
    size = setting.size(task)
    shown = f"{size[0]}x{size[1]}" if isinstance(size, tuple) else str(size)
    images = f"{task.folder}-{task.fit_split or 'all'}-{task.score_split or 'all'}"
    key = method_key(method, setting.steps)  # that of the default covers how it sees images
    key += "-brightened" if setting.brighten and method not in _OF_THE_DEFAULT else ""
    return setting.results / f"{setting.backbone.fingerprint}-{images}-{shown}-{key}-seed{seed}{'-crf' if crf else ''}.json"


def fill(setting: Setting, tasks: Sequence[Task], methods: Sequence[str], seeds: Sequence[int], crfs: Sequence[bool]) -> None:
    """Compute the cells that are not there yet; a fit serves all tasks with the same images."""
    setting.results.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for images in dict.fromkeys((task.folder, task.fit_split, task.size) for task in tasks):
            alike = [task for task in tasks if (task.folder, task.fit_split, task.size) == images]
            for method in methods:
                if method == LINEAR:
                    _fill_probe(setting, alike, LINEAR, seed, None)
                elif method != LINEAR_CODES:
                    _fill_method(setting, alike, method, seed, crfs)


def _fill_method(setting: Setting, tasks: Sequence[Task], method: str, seed: int, crfs: Sequence[bool]) -> None:
    """The cells of one method on tasks with the same images to fit."""
    missing = [(task, crf) for task in tasks for crf in crfs if not cell_path(setting, task, method, seed, crf).exists()]
    unprobed = method == DEFAULT and any(not cell_path(setting, task, LINEAR_CODES, seed, False).exists() for task in tasks)
    if not missing and not unprobed:
        return
    labelled = setting.features(tasks[0], tasks[0].fit_split, method)
    fitted = fit(method, _job(setting, tasks[0], labelled, seed))
    for task, crf in missing:
        scored = labelled if task.score_split == task.fit_split else setting.features(task, task.score_split, method)
        cell = score(fitted.predict, scored, _classes(scored), crf=crf, progress=setting.progress)
        _write(setting, task, method, seed, crf, cell | {"fit_seconds": fitted.seconds, **fitted.record})
    if unprobed:
        _fill_probe(setting, tasks, LINEAR_CODES, seed, fitted)


def _fill_probe(setting: Setting, tasks: Sequence[Task], method: str, seed: int, fitted: Fitted | None) -> None:
    """The cells of a linear probe: on features, or on the codes of ``fitted``."""
    embed = plain if fitted is None or fitted.codes is None else fitted.codes
    for task in tasks:
        if cell_path(setting, task, method, seed, False).exists():
            continue
        fit_on, score_on = setting.features(task, task.fit_split, method), setting.features(task, task.score_split, method)
        cell = probe(embed, fit_on, score_on, _classes(fit_on), seed=seed, progress=setting.progress)
        _write(setting, task, method, seed, False, cell | (fitted.record if fitted else {}))


def _job(setting: Setting, task: Task, labelled: Labelled, seed: int) -> Job:
    dataset, cache = labelled
    size, read = setting.size(task), dataset.reader()
    return Job(cache, _classes(labelled), seed, setting.steps, size, setting.backbone, setting.device, read, setting.progress)


def _classes(labelled: Labelled) -> int:
    if labelled[0].class_names is None:
        raise StegoError(f"{labelled[0].root}: the layout does not say how many classes there are; expected a meta.json with their names")
    return len(labelled[0].class_names)


def _write(setting: Setting, task: Task, method: str, seed: int, crf: bool, cell: dict[str, Any]) -> None:
    machine = {"backbone": setting.backbone.fingerprint, "machine": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    whole = {"task": task.name, "method": method, "seed": seed, "crf": crf, **cell, **machine}
    write_bytes(cell_path(setting, task, method, seed, crf), json.dumps(whole, indent=1).encode())
    print(f"{task.name} | {method} | seed {seed} | crf {crf}: {cell['miou']:.1f} / {cell['accuracy']:.1f}", file=sys.stderr, flush=True)
