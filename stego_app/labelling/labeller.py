"""One process's work on images: reading, network and CRF overlap, and each image is told of as soon as its files are there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stego_app.atomic import OutputError
from stego_app.confidence.maps import Trust
from stego_app.crf import CrfPool
from stego_app.labelling.clip import label_clip
from stego_app.labelling.large import label_large
from stego_app.labelling.manifest import Entry
from stego_app.labelling.names import Plan
from stego_app.labelling.raster import is_tiled
from stego_app.labelling.reading import AHEAD, Loaded, batches, load
from stego_app.labelling.segmenter import LabellingSegmenter, Maps, maps_of
from stego_app.labelling.settings import LabelSettings
from stego_app.labelling.worker import Outcome, Task, attempt, finish_task, reason_of
from stego_app.progress import Progress
from stego_app.read_ahead import read_ahead
from stego_app.segmentation import reduced_image, refine_patches

FEW = 4
"""For this many images, starting processes would take longer than the work."""

Record = Callable[[Entry, str], None]
"""``record(entry, told)``: what was done for one image, clip, or frame of a clip; ``told``: a few words on a clip, else empty."""

Engine = Callable[[Sequence[Plan], Path, LabellingSegmenter, LabelSettings, Record, Progress], None]
"""Labels plans into a folder and records each; what it raises ends the run. An image that fails is recorded as failed."""


def label_here(plans: Sequence[Plan], out: Path, segmenter: LabellingSegmenter, settings: LabelSettings, record: Record, progress: Progress) -> None:
    """The `Engine` of one machine: the network in this process, the CRF (but on a GPU) and the writing in ``settings.jobs`` others."""
    with CrfPool(settings.jobs) as pool:
        Labeller(out, segmenter, settings, record, progress, pool).label(plans)


@dataclass
class Labeller:
    """Writes the files of images to ``out``.

    Attributes:
        out: exists.
        segmenter: gives class probabilities on the patch grid.
        settings: see `LabelSettings`.
        record: see `Record`.
        progress: called for parts of what is long: rasters and clips.
        pool: of processes for the CRF; None to do it in this one.
    """

    out: Path
    segmenter: LabellingSegmenter
    settings: LabelSettings
    record: Record
    progress: Progress
    pool: CrfPool | None
    names: list[str] = field(init=False)
    palette: npt.NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.names, self.palette = self.segmenter.class_names(self.settings.classes), self.segmenter.palette(self.settings.classes)
        self._model, self._digest = self.segmenter.fingerprint, self.settings.digest()

    def label(self, plans: Sequence[Plan]) -> None:
        """Label ``plans``: images, then large rasters, then clips.

        Raises:
            OutputError: the output folder cannot be written to; there is no use in going on.
        """
        whole: list[Plan] = []
        large: list[Plan] = []
        for plan in plans:
            if not plan.is_clip:
                (large if is_tiled(plan.image, self.settings.tile) else whole).append(plan)
        self._label_whole(whole)
        for plan in large:
            self._label_large(plan)
        for plan in plans:
            if plan.is_clip:
                self._label_clip(plan)

    def _label_whole(self, plans: Sequence[Plan]) -> None:
        under_way: deque[Loaded] = deque()
        tasks = self._tasks(plans, under_way)
        if self.pool is None or len(plans) <= FEW:
            outcomes: Iterator[Any] = map(attempt, tasks)
        else:
            outcomes = self.pool.run(finish_task, ((task,) for task in tasks), ahead=self.pool.workers + 2)
        for outcome in outcomes:
            item = under_way.popleft()
            if isinstance(outcome, OutputError):
                raise outcome
            if isinstance(outcome, BaseException):
                self._failed(item.plan, item.sha256, reason_of(outcome))
            else:
                self._done(item.sha256, item.plan, outcome)

    def _label_large(self, plan: Plan) -> None:
        sha256 = plan.image.digest()
        try:
            outcome = label_large(plan, sha256, self.out, self.segmenter, self.settings, self.progress)
        except OutputError:
            raise
        except Exception as error:
            self._failed(plan, sha256, reason_of(error))
        else:
            self._done(sha256, plan, outcome)

    def _label_clip(self, plan: Plan) -> None:
        sha256 = plan.image.digest()
        try:
            result = label_clip(plan, sha256, self.out, self.segmenter, self.settings, partial(self._done, sha256), self.progress)
        except OutputError:
            raise
        except Exception as error:
            self._failed(plan, sha256, reason_of(error))
        else:
            overlay = plan.overlay if self.settings.overlays else ""
            entry = self._entry(plan, sha256, "clip", overlay=overlay, frames=result.frames, reason=result.problem)
            self.record(entry, f"{plan.name}: {result}")

    def _tasks(self, plans: Sequence[Plan], under_way: deque[Loaded]) -> Iterator[Task]:
        """Tasks for the workers, each noted in ``under_way``. Images that fail before that are recorded here."""
        for batch in batches(read_ahead(plans, load, ahead=AHEAD), self.settings.batch_size):
            for item, result in self._probabilities(batch):
                if isinstance(result, str):
                    self._failed(item.plan, item.sha256, result)
                elif item.image is not None:
                    probabilities, trust = result
                    try:
                        task = replace(self._task(item.plan, item.image, probabilities, trust), valid=item.valid)
                    except Exception as error:  # of a CRF that is not left to the workers
                        self._failed(item.plan, item.sha256, reason_of(error))
                        continue
                    # The image itself travels in the task, where it is needed.
                    under_way.append(replace(item, image=None, valid=None))
                    yield task

    def _probabilities(self, batch: Sequence[Loaded]) -> Iterator[tuple[Loaded, Maps | str]]:
        """Each image with its class probabilities and, if asked for, its trust, or with the reason why there are none."""
        read = [item for item in batch if item.image is not None]
        yield from ((item, item.reason) for item in batch if item.image is None)
        images = [item.image for item in read if item.image is not None]
        try:
            results = maps_of(self.segmenter, images, self.settings) if images else []
        except Exception as error:
            # One image, or too many at once for the memory: each gets its own try.
            if len(read) == 1:
                yield read[0], reason_of(error)
            else:
                for item in read:
                    yield from self._probabilities([item])
        else:
            yield from zip(read, results, strict=True)

    def _task(self, plan: Plan, image: npt.NDArray[np.uint8], probabilities: npt.NDArray[np.float32], trust: Trust | None) -> Task:
        options, engine = self.settings, self.segmenter.crf_engine
        seen = reduced_image(image, options.crf_settings) if options.crf else None
        if seen is not None and engine != "auto":
            probabilities, seen = refine_patches(probabilities, seen, options.crf_settings, engine), None
        return Task(
            probabilities=probabilities,
            size=(image.shape[0], image.shape[1]),
            seen=seen,
            image=image if options.overlays else None,
            names=self.names,
            palette=self.palette,
            settings=options.crf_settings,
            label=self.out / plan.label,
            overlay=self.out / plan.overlay,
            trust=trust,
            confidence=self.out / plan.confidence if options.confidence else None,
            abstain=options.abstain,
        )

    def _done(self, sha256: str, plan: Plan, outcome: Outcome) -> None:
        overlay = plan.overlay if self.settings.overlays else ""
        shown = plan.confidence if self.settings.confidence else ""
        trust = {"confidence": outcome.confidence, "confidence_map": shown, "abstained": outcome.abstained}
        self.record(self._entry(plan, sha256, "done", label=plan.label, overlay=overlay, pixels=outcome.pixels, **trust), "")

    def _failed(self, plan: Plan, sha256: str, reason: str) -> None:
        self.record(self._entry(plan, sha256, "failed", reason=reason), "")

    def _entry(self, plan: Plan, sha256: str, status: str, **known: Any) -> Entry:
        return Entry(plan.name, sha256, self._model, self._digest, status, **known)
