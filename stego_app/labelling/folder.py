"""Label every image of a folder: an interrupted run goes on where it stopped, and every failure is listed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stego_app.confidence.agreement import MissingConfidenceError
from stego_app.formats.label_map import Classes, LabelMap
from stego_app.formats.registry import Format
from stego_app.labelling.claim import claimed
from stego_app.labelling.export import check_formats, export
from stego_app.labelling.gone import gone_images, outdated_frames, remove_results, remove_states
from stego_app.labelling.labeller import Engine, label_here
from stego_app.labelling.ledger import Ledger
from stego_app.labelling.leftovers import remove_leftovers
from stego_app.labelling.manifest import Entry, Manifest, Unwritten, read_entries
from stego_app.labelling.names import Plan, other_names, plan_folder
from stego_app.labelling.segmenter import LabellingSegmenter
from stego_app.labelling.settings import LabelSettings
from stego_app.labelling.summary import Doubt, LabelSummary, withheld_share, write_classes, write_confidence, write_failures
from stego_app.progress import Progress, silent
from stego_app.shard import Shard


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
    engine: Engine = label_here,
    shard: Shard | None = None,
    prune: bool = False,
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
        engine: what labels the images that are left.
        shard: the part of ``plans`` to label, beside other processes that do other parts; no lists and no formats are then written. None for all,
            to be called when the parts have ended: what they did is gathered, and listed.
        prune: remove what ``out`` holds of images that are not among ``plans``; else it stays, and is counted.

    Raises:
        MissingConfidenceError: confidence is asked of a segmenter that cannot tell it.
        BusyError: another process labels into ``out``.
        StegoError: an output folder that cannot be written to, an unknown format or one that is not installed, or settings the segmenter refuses.
    """
    options = settings or LabelSettings()
    asked = check_formats(options.formats)
    run = _begin(plans, out, segmenter, options, progress)
    with claimed(out, shard):
        if shard is not None:
            return _label_part([plan for plan in plans if shard.takes(plan.name)], run, shard, engine)
        return _label_whole(plans, run, asked, known, engine, prune=prune)


def _label_whole(plans: Sequence[Plan], run: _Run, asked: Sequence[Format], known: frozenset[str], engine: Engine, *, prune: bool) -> LabelSummary:
    out, progress, started = run.out, run.progress, time.monotonic()
    with Manifest(out) as manifest:
        run.ledger.manifest = manifest
        remove_leftovers(out)
        left = run.ledger.what_is_left(plans, progress, known)
        try:
            run.label(left, engine)
        finally:
            # After an interruption too: the folder then holds what was done, and the lists say so.
            remove_leftovers(out)
            run.write_lists(plans)
        current = run.ledger.current(plans)
        of_name = {part.name: part for plan in plans for part in run.ledger.parts(plan)}
        maps = [(entry, LabelMap(entry.image, of_name[entry.image].key, out / entry.label, of_name[entry.image].image)) for entry in current]
        written = export(out, maps, run.classes, asked, jobs=run.settings.jobs, progress=progress, known=manifest.entries)
        gone = run.gone(plans, current, prune=prune)
    done = len(left) - len(run.failures)
    doubtful = tuple(run.doubtful(plans)) if run.settings.asks_confidence else ()
    withheld = withheld_share(current) if run.settings.abstain is not None else None
    failures, seconds = tuple(run.failures.items()), time.monotonic() - started
    return LabelSummary(out, done, len(plans) - len(left), failures, seconds, doubtful, written, tuple(run.clips), gone=gone, pruned=prune, withheld=withheld)


def _label_part(plans: Sequence[Plan], run: _Run, shard: Shard, engine: Engine) -> LabelSummary:
    started = time.monotonic()
    with Manifest(run.out, shard.manifest) as manifest:
        run.ledger.manifest = manifest
        left = run.ledger.what_is_left(plans, run.progress)
        run.label(left, engine)
    done, seconds = len(left) - len(run.failures), time.monotonic() - started
    return LabelSummary(run.out, done, len(plans) - len(left), tuple(run.failures.items()), seconds, clips=tuple(run.clips), shard=shard.manifest)


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
    _left: dict[str, Plan] = field(default_factory=dict)
    _total: int = 0

    @property
    def classes(self) -> Classes:
        """Names and colours."""
        return Classes(tuple(self.names), self.palette)

    def label(self, plans: Sequence[Plan], engine: Engine) -> None:
        """Label ``plans``, recording each as soon as its files are there."""
        self._left = {plan.name: plan for plan in plans}
        self._total = len(plans)
        if plans:
            engine(plans, self.out, self.segmenter, self.settings, self.record, self.progress)

    def record(self, entry: Entry, told: str) -> None:
        """Note what was done for an image, clip or frame; see `Record`."""
        manifest = self.ledger.manifest
        before = manifest.entries.get(entry.image)
        plan = self._left.pop(entry.image, None)
        if plan is None:  # a frame of a clip
            manifest.add(entry)
            return
        outdated = self._outdated(plan, entry, before)
        if entry.status == "failed" and before is not None and not outdated:
            entry = replace(entry, label=before.label)
        # Before the entry, which says that all is done: a run that is killed in between does it again.
        remove_results(self.out, outdated, folders=False)
        manifest.forget(frame.image for frame in outdated if frame.image != entry.image)
        manifest.add(entry)
        if entry.reason:
            self.failures[entry.image] = entry.reason
        if told:
            self.clips.append(told)
        self.progress("labelling", self._total - len(self._left), self._total)

    def _outdated(self, plan: Plan, entry: Entry, before: Entry | None) -> list[Entry]:
        """What an earlier run wrote for an image or clip of this name, and ``entry`` neither replaces nor leaves as it is."""
        if not entry.sha256:  # it cannot be read just now: nobody knows what is outdated
            return []
        if plan.is_clip:
            return list(outdated_frames(self.ledger.manifest.entries, plan, entry, self.out))
        if before is None or not before.label or before.label == entry.label:
            return []
        # Other bytes that could not be labelled; or a new neighbour of the same name gave the results a longer one.
        changed = entry.status == "failed" and before.label == plan.label and before.sha256 != entry.sha256
        renamed = before.label in other_names(plan) and before.label not in self.claimed
        return [before] if changed or renamed else []

    def gone(self, plans: Sequence[Plan], current: Sequence[Entry], *, prune: bool) -> int:
        """How many images that are not among ``plans`` the output folder holds results of; with ``prune`` these are removed."""
        manifest = self.ledger.manifest
        gone = gone_images(self.out, manifest.entries, plans, (entry.label for entry in current))
        manifest.forget(gone.overtaken)
        if prune:
            remove_states(self.out, plans)
            entries = [entry for found in gone.left.values() for entry in found]
            remove_results(self.out, entries, folders=True)
            manifest.forget(entry.image for entry in entries)
        return len(gone.left)

    def write_lists(self, plans: Sequence[Plan]) -> None:
        """The table of classes over all images that are done, and the failures of this run."""
        write_classes(self.out, self.names, self.palette, self.ledger.current(plans), model=self.ledger.model, settings=self.settings.model_dump())
        write_failures(self.out, list(self.failures.items()))
        write_confidence(self.out, self.doubtful(plans))

    def doubtful(self, plans: Sequence[Plan]) -> list[Doubt]:
        """What is known of each image that is done, the least to be trusted first."""
        known = [Doubt(entry.image, entry.confidence) for entry in self.ledger.current(plans) if entry.confidence is not None]
        return sorted(known, key=lambda doubt: doubt.confidence)
