"""Score a segmenter on a labelled data set: one pass over the images, histograms only in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.confidence.agreement import MISSING
from stego_app.confidence.maps import Trust
from stego_app.crf import CrfPool
from stego_app.data import VOID, Dataset, Sample
from stego_app.data.dataset import evenly
from stego_app.evaluation.checkpoint import Arrays, Checkpoint, from_text_array, text_array
from stego_app.evaluation.error_prediction import BINS, ErrorPrediction, accumulate_by_confidence, error_prediction
from stego_app.evaluation.histogram import accumulate
from stego_app.evaluation.report import EvaluationReport, make_folder, write_report
from stego_app.evaluation.scores import Scores, hungarian_scores, majority_scores, matched_scores
from stego_app.progress import Progress, silent
from stego_app.segmentation import finish

if TYPE_CHECKING:
    import torch

    from stego_app.encoder import Encoded
    from stego_app.evaluation.probes import Probes

Bytes = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]

CRF_MODES = {"off": (False,), "on": (True,), "both": (False, True)}

CHUNK = 64
"""After so many images, what was counted is saved."""


class Segments(Protocol):
    """What is asked of a segmenter; `stego_app.Segmenter` is one."""

    @property
    def has_confidence(self) -> bool:
        """Whether it can tell `probabilities_and_trust`."""

    def info(self) -> dict[str, Any]:
        """What is known of it, ready for JSON."""

    def class_names(self, classes: int | None = None) -> list[str]:
        """Names of the clusters at a granularity."""

    def palette(self, classes: int | None = None) -> Bytes:
        """Their colours (K, 3)."""

    def encode(self, image: Bytes, *, flip: bool = False, resolution: int | None = None, window: int | None = None) -> Encoded:
        """The patch tokens of an image (H, W, 3)."""

    def probabilities(self, encoded: Encoded, *, classes: int | None = None) -> npt.NDArray[np.float32]:
        """(K + 1, h, w) on the patch grid; the last row is "ignored"."""

    def probabilities_and_trust(self, encoded: Encoded, *, classes: int | None = None) -> tuple[npt.NDArray[np.float32], Trust]:
        """`probabilities`, and how far they are to be trusted."""

    def codes(self, encoded: Encoded) -> torch.Tensor:
        """(h*w, E)."""

    def detailed_codes(self, encoded: Encoded) -> torch.Tensor:
        """(h*w, E + D)."""


@dataclass(frozen=True)
class EvaluationSettings:
    """What to score, and how.

    Attributes:
        classes: the granularity at which the segmenter is scored; the data set's number of classes if None.
        crf: "on", "off" or "both".
        flip: average with the mirrored image.
        linear_probe: train linear probes on every other image and score them on the rest.
        limit: score this many images only, evenly spaced.
        resolution: short side for the backbone in pixels; the segmenter's own if None.
        window: side of overlapping windows in pixels, 0 for none; the segmenter's own if None.
        workers: processes for the CRF; one a core if None.
        seed: of the pixels that the probes are trained on.
    """

    classes: int | None = None
    crf: str = "both"
    flip: bool = False
    linear_probe: bool = True
    limit: int | None = None
    resolution: int | None = None
    window: int | None = None
    workers: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.crf not in CRF_MODES:
            raise StegoError(f"crf {self.crf!r}: expected on, off or both")


@dataclass(frozen=True)
class ClassSpace:
    """Names of the classes, and ``column`` (256,) uint8 from label value to index in ``names`` (255 stays void)."""

    names: tuple[str, ...]
    column: Bytes


def evaluate_segmenter(segmenter: Segments, dataset: Dataset, settings: EvaluationSettings, out: Path, progress: Progress = silent) -> EvaluationReport:
    """Score ``segmenter`` on ``dataset`` and write ``scores.json``, ``scores.md`` and ``confusion.png`` into ``out``.

    Clusters are matched to classes on the counts of the whole set; predictions are compared at the labels' own size.
    Images or labels that cannot be read are listed in the report and left out. An evaluation that was cut off goes on
    when it is started again with the same arguments.

    Raises:
        StegoError: no labels, none that can be read, more classes than the segmenter has fine clusters, or ``out`` cannot be written.
    """
    make_folder(out)
    samples = evenly(dataset.labelled, settings.limit)
    if not samples:
        raise StegoError(f"{dataset.root}: no image has a label; expected a labelled layout, or a folder of label PNGs (--labels)")
    run = _Run(segmenter, dataset, settings, samples, class_space(dataset, samples, progress), progress)
    identity = {
        "checkpoint": 2,  # raised when another release's could not be gone on from
        "segmenter": segmenter.info(),
        "dataset": [dataset.name, str(dataset.root.resolve()), list(dataset.class_names or ())],
        "settings": run.settings_used(),
        "classes": list(run.space.names),
        "samples": [[sample.key, *_file_state(sample.image), *_file_state(sample.label)] for sample in run.samples],
    }
    checkpoint = Checkpoint(out, identity)
    run.count(checkpoint)
    report = run.report()
    write_report(report, out)
    checkpoint.clear()
    return report


def _file_state(path: Path | None) -> list[str | int]:
    """What changes when an image or a file of labels is another one or was written anew."""
    if path is None:
        return []
    try:
        state = path.stat()
    except OSError:  # its turn comes, and it is listed as a failure
        return [str(path)]
    return [str(path.resolve()), state.st_size, state.st_mtime_ns]


def class_space(dataset: Dataset, samples: Sequence[Sample], progress: Progress = silent) -> ClassSpace:
    """The data set's classes; where it does not name them, one for each label value that occurs.

    Raises:
        StegoError: no label holds anything but void.
    """
    if dataset.class_names is not None:
        return ClassSpace(dataset.class_names, np.arange(256, dtype=np.uint8))
    seen = np.zeros(256, dtype=bool)
    for number, sample in enumerate(samples):
        with suppress(StegoError):  # listed as a failure when the image's turn comes
            seen[np.unique(dataset.read_label(sample))] = True
        progress("finding classes", number + 1, len(samples))
    values = [int(value) for value in np.flatnonzero(seen) if value != VOID]
    if not values:
        raise StegoError(f"{dataset.root}: no label that can be read holds a class")
    column = np.full(256, VOID, dtype=np.uint8)
    column[values] = np.arange(len(values))
    return ClassSpace(tuple(f"label {value}" for value in values), column)


def count_pixels(
    image: Bytes,
    probabilities: npt.NDArray[np.float32],
    label: Bytes,
    names: list[str],
    palette: Bytes,
    classes: int,
    crf: bool,
    trust: Trust | None = None,
) -> Counts:
    """(K + 1, classes, bins) pixels of one image by step of confidence; a single bin without ``trust``.

    The last row holds those given no cluster. At the top level, for worker processes.
    """
    found = finish(image, probabilities, names=names, palette=palette, crf=crf, trust=trust)
    said = np.where(found.labels == VOID, len(names), found.labels)
    if trust is None:
        return accumulate(said, label, len(names) + 1, classes)[..., None]
    return accumulate_by_confidence(said, label, found.confidence, len(names) + 1, classes)


class _Run:
    """One pass over the images."""

    def __init__(
        self, segmenter: Segments, dataset: Dataset, settings: EvaluationSettings, samples: Sequence[Sample], space: ClassSpace, progress: Progress
    ) -> None:
        self.segmenter, self.dataset, self.settings, self.space, self.progress = segmenter, dataset, settings, space, progress
        self.parts = settings.classes or len(space.names)
        self.names = segmenter.class_names(self.parts)
        self.palette = segmenter.palette(self.parts)
        self.modes = CRF_MODES[settings.crf]
        self.confident = segmenter.has_confidence
        shape = (len(self.names) + 1, len(space.names), BINS if self.confident else 1)
        self.counts: dict[bool, Counts] = {crf: np.zeros(shape, dtype=np.int64) for crf in self.modes}
        self.failures: list[tuple[str, str]] = []
        self.notes: list[str] = [] if self.confident else [f"Confidence was not scored: {MISSING}."]
        self.samples = list(samples)
        self.trained_on = 0
        self.done = 0
        self.probes: Probes | None = None
        if settings.linear_probe and len(samples) < 2:
            self.notes.append("No linear probe: it needs two labelled images or more.")
        elif settings.linear_probe:
            from stego_app.evaluation.probes import Probes  # torch, which the worker processes can do without

            # The images to train on come first, so that the others can be scored in the same pass.
            self.samples = [*samples[0::2], *samples[1::2]]
            self.trained_on = len(samples[0::2])
            self.probes = Probes(self.trained_on, len(space.names), settings.seed, progress)

    def settings_used(self) -> dict[str, Any]:
        """The settings that decide the scores."""
        return {name: value for name, value in vars(self.settings).items() if name != "workers"} | {"classes": self.parts}

    def count(self, checkpoint: Checkpoint) -> None:
        """Fill the histograms. With the CRF, pixels are labelled in worker processes while the next image is encoded here."""
        if (saved := checkpoint.load()) is not None:
            self._restore(saved)
        with CrfPool(self.settings.workers) if True in self.modes else nullcontext() as pool:
            while self.done < len(self.samples):
                jobs = self._jobs(range(self.done, min(self.done + CHUNK, len(self.samples))))
                for number, result in enumerate(pool.run(count_pixels, jobs) if pool else (count_pixels(*job) for job in jobs)):
                    if isinstance(result, BaseException):
                        raise result
                    self.counts[self.modes[number % len(self.modes)]] += result
                    self.progress("scoring", min(self.done + 1 + number // len(self.modes), len(self.samples)), len(self.samples))
                self.done = min(self.done + CHUNK, len(self.samples))
                self.progress("scoring", self.done, len(self.samples))
                if self.done < len(self.samples):
                    checkpoint.save(self._state())
        if len(self.failures) == len(self.samples):
            raise StegoError(f"{self.failures[0][1]}; none of {len(self.samples)} images could be scored")

    def _jobs(self, numbers: range) -> Iterator[tuple[Any, ...]]:
        """Arguments of `count_pixels`: for each image that can be read, one for each mode."""
        for number in numbers:
            sample = self.samples[number]
            try:
                image, stored = self.dataset.read_pair(sample)
            except StegoError as error:
                self.failures.append((sample.key, str(error)))
                continue
            label = self.space.column[stored]
            encoded = self.segmenter.encode(image, flip=self.settings.flip, resolution=self.settings.resolution, window=self.settings.window)
            if self.probes is not None:
                tokens = {"features": encoded.tokens, "codes": self.segmenter.codes(encoded), "detailed_codes": self.segmenter.detailed_codes(encoded)}
                self.probes.see(tokens, encoded.grid, label, training=number < self.trained_on)
            if self.confident:
                probabilities, trust = self.segmenter.probabilities_and_trust(encoded, classes=self.parts)
            else:
                probabilities, trust = self.segmenter.probabilities(encoded, classes=self.parts), None
            for crf in self.modes:
                yield image, probabilities, label, self.names, self.palette, len(self.space.names), crf, trust

    def _state(self) -> Arrays:
        arrays: Arrays = {"done": np.array(self.done), "failures": text_array(self.failures)}
        arrays |= {f"counts.{crf}": counts for crf, counts in self.counts.items()}
        return arrays | ({} if self.probes is None else self.probes.state())

    def _restore(self, arrays: Arrays) -> None:
        self.done = int(arrays["done"])
        self.failures = [(image, reason) for image, reason in from_text_array(arrays["failures"])]
        self.counts = {crf: arrays[f"counts.{crf}"] for crf in self.modes}
        if self.probes is not None:
            self.probes.restore(arrays)

    def report(self) -> EvaluationReport:
        """The scores of what was counted."""
        names = self.space.names
        scores: dict[str, Scores] = {}
        errors: dict[str, ErrorPrediction] = {}
        for rule, score in (("hungarian", hungarian_scores), ("majority", majority_scores)):
            for crf, counts in self.counts.items():
                key, pixels = f"{rule}{'_crf' if crf else ''}", counts.sum(axis=2)
                scores[key] = score(pixels[:-1], names, ignored=pixels[-1])
                if self.confident:
                    errors[key] = error_prediction(counts[:-1], np.array(scores[key].matching))
        if self.probes is not None:
            scores |= {f"linear_{what}": matched_scores(counts, np.arange(len(names)), names) for what, counts in self.probes.counts.items()}
            self.notes += self.probes.notes()
        unlabelled = len(self.dataset) - len(self.dataset.labelled)
        if unlabelled:
            self.notes.append(f"{unlabelled} images without a label were left out.")
        if len(self.names) != len(names):
            self.notes.append(f"{len(self.names)} clusters against {len(names)} classes: what is left over on either side counts as wrong.")
        return EvaluationReport(
            dataset=self.dataset.name,
            segmenter=self.segmenter.info(),
            settings=self.settings_used(),
            clusters=tuple(self.names),
            images=len(self.samples) - len(self.failures),
            scores=scores,
            errors=errors,
            notes=tuple(self.notes),
            failures=tuple(self.failures),
        )
