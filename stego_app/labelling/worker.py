"""One image's share of the work that needs no network: CRF, decision, files. Runs in worker processes, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.atomic import write_bytes
from stego_app.classes import IGNORED
from stego_app.confidence.maps import Trust, confidence_of, mean_confidence
from stego_app.crf import CrfSettings
from stego_app.segmentation import Segmentation, abstained, count_labels, grey_png, index_png, segment


@dataclass(frozen=True)
class Task:
    """What a worker needs to finish an image.

    Attributes:
        probabilities: (K + 1, h, w) on the patch grid.
        size: (H, W) of the label map.
        seen: the image at the CRF's size; None for no CRF, or where it has done its part.
        image: (H, W, 3), only where an overlay is wanted: a large image is slow to hand over.
        names: of the classes.
        palette: (K, 3) colours.
        settings: of the CRF.
        label: file to write.
        overlay: file to write, where an overlay is wanted.
        trust: of the image, where confidence is asked for.
        confidence: file to write; None where no map of confidence is wanted.
        abstain: give no class where confidence is below this; None to give each pixel one.
        valid: (H, W) where the image holds data: elsewhere no class is given; None for everywhere.
    """

    probabilities: npt.NDArray[np.float32]
    size: tuple[int, int]
    seen: npt.NDArray[np.uint8] | None
    image: npt.NDArray[np.uint8] | None
    names: list[str]
    palette: npt.NDArray[np.uint8]
    settings: CrfSettings
    label: Path
    overlay: Path
    trust: Trust | None = None
    confidence: Path | None = None
    abstain: float | None = None
    valid: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Outcome:
    """What is known of a finished image: ``pixels`` of each label that occurs; see `Entry` for the others."""

    pixels: dict[str, int]
    confidence: float | None = None
    abstained: int | None = None


def finish_task(task: Task) -> Outcome:
    """Write the files of ``task``.

    Raises:
        OutputError: the output folder cannot be written to.
        StegoError: this image cannot be finished.
    """
    labels, scores = segment(task.probabilities, task.size, seen=task.seen, settings=task.settings)
    if task.valid is not None:
        labels[~task.valid] = IGNORED
    mean, withheld = None, None
    if task.trust is not None:
        confidence = confidence_of(labels, task.trust)
        # Of the image as it was decided: what is withheld afterwards is what made it doubtful.
        mean = mean_confidence(confidence, labels) or 0.0
        if task.confidence is not None:
            write_bytes(task.confidence, grey_png(confidence))
        if task.abstain is not None:
            kept = abstained(labels, confidence, task.abstain)
            withheld = int(np.count_nonzero(kept != labels))
            labels = kept
    if task.image is not None:
        shown = Segmentation(task.image, labels, scores, task.names, task.palette)
        write_bytes(task.overlay, shown.to_overlay_jpeg())
    # Last, since a label map that is there stands for an image that is done.
    write_bytes(task.label, index_png(labels, task.palette))
    counts = count_labels(labels)
    return Outcome({str(label): int(counts[label]) for label in np.flatnonzero(counts)}, mean, withheld)


def attempt(task: Task) -> Outcome | Exception:
    """`finish_task` in this process, with the outcome as `CrfPool.run` gives it."""
    try:
        return finish_task(task)
    except Exception as error:
        return error


def reason_of(error: BaseException) -> str:
    """One line for the list of failures."""
    text = " ".join(str(error).split())
    return text if isinstance(error, StegoError) else f"{type(error).__name__}: {text}"
