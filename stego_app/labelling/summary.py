"""What a run of batch labelling came to, and the lists it leaves beside the label maps."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stego_app.atomic import write_bytes, write_text
from stego_app.classes import IGNORED
from stego_app.labelling.manifest import Entry
from stego_app.progress import pace
from stego_app.segmentation import hex_color

FAILURES = "failures.csv"
CONFIDENCE = "confidence.csv"

_NAMED = 3
"""Images named in the line of a run as the least to be trusted."""


class Doubt(NamedTuple):
    """How far an image is to be trusted: mean ``confidence`` of its pixels that have a class, 0 where none has."""

    image: str
    confidence: float


@dataclass(frozen=True)
class LabelSummary:
    """Counts of a run, each failure as (image, reason), and each image with its scores, the least to be trusted first, if asked for.

    ``written``: what was made anew in other formats. ``clips``: a few words on each video clip that was labelled.
    ``withheld``: the share of pixels given no class for want of confidence, None if none could be.
    ``shard``: of a part of a run, the file that says what it did. ``gone``: how many other images the folder holds label maps of; ``pruned``: held.
    """

    out: Path
    labelled: int
    skipped: int
    failures: tuple[tuple[str, str], ...]
    seconds: float
    doubtful: tuple[Doubt, ...] = ()
    written: tuple[Path, ...] = ()
    clips: tuple[str, ...] = ()
    shard: str = ""
    gone: int = 0
    pruned: bool = False
    withheld: float | None = None

    @property
    def failed(self) -> int:
        """How many images could not be labelled; the command's exit code is not zero if any."""
        return len(self.failures)

    @property
    def total(self) -> int:
        """How many images the folder holds."""
        return self.labelled + self.skipped + self.failed

    def __str__(self) -> str:
        rate = f" in {self.seconds:.1f} s, {pace(self.labelled / self.seconds)}" if self.labelled and self.seconds > 0 else ""
        what = "images and clips" if self.clips else "images"
        text = f"labelled {self.labelled} of {self.total} {what}{rate}; label maps in {self.out / 'labels'}"
        if self.clips:
            text += f"; {self.clips[0]}" + (f" (and {len(self.clips) - 1} more clips, see {self.out / 'clips'})" if len(self.clips) > 1 else "")
        if self.skipped:
            text += f"; {self.skipped} were done before"
        if self.written:
            text += f"; wrote {', '.join(str(path) for path in self.written)}"
        if self.withheld is not None:
            text += f"; {self.withheld:.1%} of pixels are not sure enough for a class"
        if self.doubtful:
            text += f"; {_least_trusted(self.doubtful)}, see {self.out / CONFIDENCE}"
        if self.gone:
            others = f"{self.gone} other image{'s' if self.gone > 1 else ''}"
            text += f"; removed the results of {others}" if self.pruned else f"; results of {others} from earlier runs are there too (--prune removes them)"
        if self.failed:
            image, reason = self.failures[0]
            first = reason if image in reason else f"{image}: {reason}"
            text += f"; {self.failed} failed, see {self.out / (self.shard or FAILURES)} (first: {first})"
        return text


def _least_trusted(doubtful: Sequence[Doubt]) -> str:
    """The first of ``doubtful`` by name, unless the two decimals shown of them are all the same."""
    if len(doubtful) > 1 and f"{doubtful[0].confidence:.2f}" == f"{doubtful[-1].confidence:.2f}":
        return f"confidence is {doubtful[0].confidence:.2f} for every image and tells none apart"
    return "least to be trusted: " + ", ".join(f"{doubt.image} ({doubt.confidence:.2f})" for doubt in doubtful[:_NAMED])


def withheld_share(entries: Iterable[Entry]) -> float:
    """Share of the pixels of ``entries`` that were given no class for want of confidence."""
    counts = [(entry.abstained or 0, sum((entry.pixels or {}).values())) for entry in entries]
    return sum(withheld for withheld, _ in counts) / max(1, sum(pixels for _, pixels in counts))


def write_failures(out: Path, failures: Sequence[tuple[str, str]]) -> None:
    """``failures.csv``: path, reason. Where nothing failed there is no such file."""
    if failures:
        write_bytes(out / FAILURES, _csv([("path", "reason"), *failures]))
    else:
        (out / FAILURES).unlink(missing_ok=True)


def write_confidence(out: Path, doubtful: Sequence[Doubt]) -> None:
    """``confidence.csv``: path and mean confidence, the least to be trusted first. Where it is known of none there is no such file."""
    if doubtful:
        rows = [(doubt.image, f"{doubt.confidence:.4f}") for doubt in doubtful]
        write_bytes(out / CONFIDENCE, _csv([("path", "confidence"), *rows]))
    else:
        (out / CONFIDENCE).unlink(missing_ok=True)


def write_classes(out: Path, names: Sequence[str], palette: npt.NDArray[np.uint8], entries: Iterable[Entry], *, model: str, settings: dict[str, Any]) -> None:
    """``classes.json`` and ``classes.csv``: id, name, colour, and share of all pixels in ``entries``, which are done."""
    pixels = [0] * (IGNORED + 1)
    images = [0] * (IGNORED + 1)
    withheld = 0
    for entry in entries:
        withheld += entry.abstained or 0
        for label, count in (entry.pixels or {}).items():
            pixels[int(label)] += count
            images[int(label)] += 1
    total = max(1, sum(pixels))
    classes = [
        {"id": index, "name": name, "color": hex_color(palette[index]), "pixels": pixels[index], "share": pixels[index] / total, "images": images[index]}
        for index, name in enumerate(names)
    ]
    ignored: dict[str, Any] = {"id": IGNORED, "pixels": pixels[IGNORED], "share": pixels[IGNORED] / total}
    if settings.get("abstain") is not None:
        ignored["abstained"] = withheld
    table = {"model": model, "settings": settings, "ignored": ignored, "classes": classes}
    write_text(out / "classes.json", json.dumps(table, indent=2, ensure_ascii=False) + "\n")
    rows = [(str(entry["id"]), str(entry["name"]), str(entry["color"]), f"{entry['share']:.6f}") for entry in classes]
    write_bytes(out / "classes.csv", _csv([("id", "name", "color", "share"), *rows]))


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    # File names need not be valid text.
    return stream.getvalue().encode("utf-8", "surrogateescape")
