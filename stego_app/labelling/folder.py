"""Label every image of a folder: reading, network and CRF overlap; an interrupted run goes on where it stopped."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stego_app.atomic import OutputError
from stego_app.confidence.agreement import MissingConfidenceError
from stego_app.confidence.maps import Trust
from stego_app.crf import CrfPool
from stego_app.formats.label_map import Classes, LabelMap
from stego_app.labelling.clip import label_clip
from stego_app.labelling.export import check_formats, export
from stego_app.labelling.large import label_large
from stego_app.labelling.ledger import Ledger
from stego_app.labelling.leftovers import remove_leftovers
from stego_app.labelling.manifest import Entry, Manifest, Unwritten, read_entries
from stego_app.labelling.names import Plan, other_names, plan_folder
from stego_app.labelling.raster import is_tiled
from stego_app.labelling.reading import AHEAD, Loaded, batches, load
from stego_app.labelling.segmenter import LabellingSegmenter, Maps, maps_of
from stego_app.labelling.settings import LabelSettings
from stego_app.labelling.summary import Doubt, LabelSummary, write_classes, write_confidence, write_failures
from stego_app.labelling.worker import Outcome, Task, attempt, finish_task, reason_of
from stego_app.progress import Progress, silent
from stego_app.read_ahead import read_ahead
from stego_app.segmentation import reduced_image

FEW = 4
"""For this many images, starting processes would take longer than the work."""


def label_folder(source: Path, out: Path, segmenter: LabellingSegmenter, settings: LabelSettings | None = None, progress: Progress = silent) -> LabelSummary:
    """`label_images` for every image under ``source``, or for one image, a zip of images, or a pattern."""
    return label_images(plan_folder(source, out), out, segmenter, settings, progress)


def label_images(
    plans: Sequence[Plan],
    out: Path,
    segmenter: LabellingSegmenter,
    settings: LabelSettings | None = None,
    progress: Progress = silent,
    known: frozenset[str] = frozenset(),
) -> LabelSummary:
    """Write a label map for every image of ``plans`` to ``out``.

    Leaves ``labels/<sub-path>.png`` (8-bit palette, 255 = ignored), ``overlays/<sub-path>.jpg`` and ``confidence/<sub-path>.png``
    (8-bit grey, 255 = full confidence) if asked for, ``confidence.csv`` (images, the least to be trusted first) wherever confidence plays a part,
    ``classes.json``, ``classes.csv``, ``manifest.jsonl``, the formats asked for and, if any image failed, ``failures.csv``. An image is left as
    it is if its bytes, the segmenter and the settings are those of the manifest and its files are there. An image that
    fails is listed and the run goes on. Formats are made at the end from the label maps on disk.

    Args:
        plans: see `stego_app.labelling.names.plan_inputs`.
        out: made if it does not exist.
        segmenter: gives class probabilities on the patch grid.
        settings: the defaults if None.
        progress: called as ``progress("labelling", done, total)``.
        known: names of images whose bytes are known to be those of the manifest, so that they need not be read.

    Raises:
        MissingConfidenceError: confidence is asked of a segmenter that cannot tell it.
        StegoError: an output folder that cannot be written to, an unknown format or one that is not installed, or settings the segmenter refuses.
    """
    options = settings or LabelSettings()
    asked = check_formats(options.formats)
    run = _begin(plans, out, segmenter, options, progress)
    started = time.monotonic()
    with Manifest(out) as manifest:
        run.ledger.manifest = manifest
        remove_leftovers(out)
        left = run.ledger.what_is_left(plans, progress, known)
        try:
            run.label(left)
        finally:
            # After an interruption too: the folder then holds what was done, and the lists say so.
            remove_leftovers(out)
            run.write_lists(plans)
        current = run.ledger.current(plans)
    of_name = {part.name: part for plan in plans for part in run.ledger.parts(plan)}
    maps = [(entry, LabelMap(entry.image, of_name[entry.image].key, out / entry.label, of_name[entry.image].image)) for entry in current]
    written = export(out, maps, run.classes, asked, jobs=options.jobs, progress=progress)
    done = len(left) - len(run.failures)
    doubtful = tuple(run.doubtful(plans)) if options.asks_confidence else ()
    return LabelSummary(out, done, len(plans) - len(left), tuple(run.failures.items()), time.monotonic() - started, doubtful, written, tuple(run.clips))


def survey_images(plans: Sequence[Plan], out: Path, segmenter: LabellingSegmenter, settings: LabelSettings) -> list[Plan]:
    """The images that `label_images` would label now; nothing is written."""
    check_formats(settings.formats)
    run = _begin(plans, out, segmenter, settings, silent)
    run.ledger.manifest.entries.update(read_entries(out))
    return run.ledger.what_is_left(plans, silent)


def _begin(plans: Sequence[Plan], out: Path, segmenter: LabellingSegmenter, settings: LabelSettings, progress: Progress) -> _Run:
    if settings.asks_confidence and not segmenter.has_confidence:
        raise MissingConfidenceError
    names, palette = segmenter.class_names(settings.classes), segmenter.palette(settings.classes)
    claimed = frozenset(plan.label for plan in plans)
    ledger = Ledger(out, settings, segmenter.fingerprint, settings.digest(), Unwritten())
    return _Run(out, segmenter, settings, ledger, progress, names, palette, claimed)


@dataclass
class _Run:
    """The state of one call of `label_folder`."""

    out: Path
    segmenter: LabellingSegmenter
    settings: LabelSettings
    ledger: Ledger
    progress: Progress
    names: list[str]
    palette: npt.NDArray[np.uint8]
    claimed: frozenset[str]
    failures: dict[str, str] = field(default_factory=dict)
    clips: list[str] = field(default_factory=list)
    _finished: int = 0
    _total: int = 0

    @property
    def classes(self) -> Classes:
        """Names and colours."""
        return Classes(tuple(self.names), self.palette)

    def label(self, plans: Sequence[Plan]) -> None:
        """Label ``plans``, recording each as soon as its files are there."""
        self._total = len(plans)
        whole: list[Plan] = []
        large: list[Plan] = []
        clips = [plan for plan in plans if plan.is_clip]
        for plan in plans:
            if not plan.is_clip:
                (large if is_tiled(plan.image, self.settings.tile) else whole).append(plan)
        self._label_whole(whole)
        for plan in large:
            self._label_large(plan)
        for plan in clips:
            self._label_clip(plan)

    def _label_whole(self, plans: Sequence[Plan]) -> None:
        under_way: deque[Loaded] = deque()
        tasks = self._tasks(plans, under_way)
        with CrfPool(self.settings.jobs) as pool:
            outcomes = map(attempt, tasks) if len(plans) <= FEW else pool.run(finish_task, ((task,) for task in tasks), ahead=pool.workers + 2)
            for outcome in outcomes:
                item = under_way.popleft()
                if isinstance(outcome, OutputError):
                    raise outcome
                if isinstance(outcome, BaseException):
                    self._fail(item, reason_of(outcome))
                else:
                    self._done(item, outcome)

    def _label_large(self, plan: Plan) -> None:
        item = Loaded(plan, plan.image.digest(), None, "")
        try:
            outcome = label_large(plan, item.sha256, self.out, self.segmenter, self.settings, self.progress)
        except OutputError:
            raise
        except Exception as error:
            self._fail(item, reason_of(error))
        else:
            self._done(item, outcome)

    def _label_clip(self, plan: Plan) -> None:
        item = Loaded(plan, plan.image.digest(), None, "")
        try:
            result = label_clip(plan, item.sha256, self.out, self.segmenter, self.settings, partial(self._record, item.sha256), self.progress)
        except OutputError:
            raise
        except Exception as error:
            self._fail(item, reason_of(error))
        else:
            overlay = plan.overlay if self.settings.overlays else ""
            self._note(plan, item.sha256, "clip", overlay=overlay, frames=result.frames, reason=result.problem)
            self.clips.append(f"{plan.name}: {result}")
            if result.problem:
                self.failures[plan.name] = result.problem
            self._advance()

    def _tasks(self, plans: Sequence[Plan], under_way: deque[Loaded]) -> Iterator[Task]:
        """Tasks for the workers, each noted in ``under_way``. Images that fail before that are recorded here."""
        for batch in batches(read_ahead(plans, load, ahead=AHEAD), self.settings.batch_size):
            for item, result in self._probabilities(batch):
                if isinstance(result, str):
                    self._fail(item, result)
                elif item.image is not None:
                    probabilities, trust = result
                    # The image itself travels in the task, where it is needed.
                    under_way.append(replace(item, image=None, valid=None))
                    yield replace(self._task(item.plan, item.image, probabilities, trust), valid=item.valid)

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
        options = self.settings
        return Task(
            probabilities=probabilities,
            size=(image.shape[0], image.shape[1]),
            seen=reduced_image(image, options.crf_settings) if options.crf else None,
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

    def _done(self, item: Loaded, outcome: Outcome) -> None:
        plan = item.plan
        before = self.ledger.manifest.entries.get(plan.name)
        self._record(item.sha256, plan, outcome)
        if before is not None and before.label != plan.label and before.label in other_names(plan) and before.label not in self.claimed:
            # A new neighbour of the same name gave this image's results a longer one.
            (self.out / before.label).unlink(missing_ok=True)
        self._advance()

    def _note(self, plan: Plan, sha256: str, status: str, **known: Any) -> None:
        self.ledger.manifest.add(Entry(plan.name, sha256, self.ledger.model, self.ledger.digest, status, **known))

    def _record(self, sha256: str, plan: Plan, outcome: Outcome) -> None:
        overlay = plan.overlay if self.settings.overlays else ""
        shown = plan.confidence if self.settings.confidence else ""
        trust = {"confidence": outcome.confidence, "confidence_map": shown, "abstained": outcome.abstained}
        self._note(plan, sha256, "done", label=plan.label, overlay=overlay, pixels=outcome.pixels, **trust)

    def _fail(self, item: Loaded, reason: str) -> None:
        self.failures[item.plan.name] = reason
        self._note(item.plan, item.sha256, "failed", reason=reason)
        self._advance()

    def _advance(self) -> None:
        self._finished += 1
        self.progress("labelling", self._finished, self._total)

    def write_lists(self, plans: Sequence[Plan]) -> None:
        """The table of classes over all images that are done, and the failures of this run."""
        write_classes(self.out, self.names, self.palette, self.ledger.current(plans), model=self.ledger.model, settings=self.settings.model_dump())
        write_failures(self.out, list(self.failures.items()))
        write_confidence(self.out, self.doubtful(plans))

    def doubtful(self, plans: Sequence[Plan]) -> list[Doubt]:
        """What is known of each image that is done, the least to be trusted first."""
        known = [Doubt(entry.image, entry.confidence) for entry in self.ledger.current(plans) if entry.confidence is not None]
        return sorted(known, key=lambda doubt: doubt.confidence)
