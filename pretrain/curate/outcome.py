"""What a curation found, and the files it becomes: the list, a table of removals, numbers, a report."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from pretrain.curate.duplicates import Removal
from pretrain.curate.lists import list_text
from pretrain.curate.retrieval import Retrieved
from pretrain.curate.settings import CurateSettings
from pretrain.curate.thresholds import Thresholds
from stego_app.atomic import refuse_folder, write_bytes, write_text
from stego_app.progress import Progress

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ImageSet:
    """Readable images of a set: paths, content keys, ``shapes`` (n, 3) height, width and bytes; and those that could not be read."""

    name: str
    paths: list[Path]
    keys: list[str]
    shapes: Indices
    failures: list[tuple[str, str]]

    def quality(self) -> Indices:
        """(n, 2) pixels and bytes: of copies the one with the most is kept."""
        return np.stack([self.shapes[:, 0] * self.shapes[:, 1], self.shapes[:, 2]], axis=1)


@dataclass(frozen=True)
class Outcome:
    """Everything a curation found.

    Attributes:
        settings, method: what was asked for, and the method that it came to.
        pool, like, not_like: the sets.
        thresholds, copies, nearest: see `pretrain.curate.thresholds.learn_thresholds`.
        components: (N,) connected component of each image of the pool.
        removals: images of the pool that are left out as near-duplicates.
        withheld: images of the curated set, where they were to be listed, that are left out since they resemble evaluation sets; ``row`` is of that set.
        chosen: the images of the pool in the list.
    """

    settings: CurateSettings
    method: str
    pool: ImageSet
    like: ImageSet
    not_like: ImageSet
    thresholds: Thresholds
    copies: dict[str, Floats]
    nearest: Floats
    components: Indices
    removals: list[Removal]
    withheld: list[Removal]
    chosen: Retrieved

    @property
    def paths(self) -> list[Path]:
        """The list: curated images first where they were asked for."""
        left_out = {removal.row for removal in self.withheld}
        curated = [path for row, path in enumerate(self.like.paths) if row not in left_out] if self.settings.with_like else []
        return [*curated, *(self.pool.paths[row] for row in self.chosen.rows)]

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Files that could not be read, and why."""
        return [failure for part in (self.pool, self.like, self.not_like) for failure in part.failures]

    def other(self, removal: Removal) -> Path:
        """The image that a removed one resembles."""
        return {"pool": self.pool, "curated": self.like, "evaluation": self.not_like}[removal.of].paths[removal.like]

    def counts(self) -> dict[str, int]:
        """Images by what became of them."""
        removed = {of: sum(removal.of == of for removal in self.removals) for of in ("pool", "curated", "evaluation")}
        return {
            "pool": len(self.pool.paths),
            "curated": len(self.like.paths),
            "evaluation": len(self.not_like.paths),
            "unreadable": len(self.failures),
            "near-duplicates within the pool": removed["pool"],
            "near-duplicates of the curated set": removed["curated"],
            "near-duplicates of evaluation sets": removed["evaluation"],
            "curated images like evaluation sets": len(self.withheld),
            "left": len(self.pool.paths) - len(self.removals),
            "in the list": len(self.paths),
        }

    def as_dict(self) -> dict[str, Any]:
        """Numbers, ready for JSON but for paths."""
        thresholds = self.thresholds
        return {
            "settings": self.settings.model_dump(),
            "method": self.method,
            "counts": self.counts(),
            "similarity": {name: round(getattr(thresholds, name), 4) for name in ("pool", "evaluation", "copies", "strangers")},
            "copies_found": {kind: round(share, 4) for kind, share in thresholds.found.items()},
            "separable": thresholds.separable,
        }

    def __str__(self) -> str:
        counts = self.counts()
        dropped = counts["near-duplicates within the pool"] + counts["near-duplicates of the curated set"] + counts["near-duplicates of evaluation sets"]
        unreadable = f", {counts['unreadable']} unreadable" if counts["unreadable"] else ""
        withheld = f", {len(self.withheld)} curated images like evaluation sets left out" if self.withheld else ""
        what = f"{self.method}; {dropped} near-duplicates left out{unreadable}{withheld}"
        return f"{self.settings.out}: {counts['in the list']} images of {counts['pool']} ({what})"


ENDINGS = ("report.html", "removed.csv", "json")


def beside(out: Path, ending: str) -> Path:
    """The path of a companion of the list ``out``: ``list.txt`` has ``list.removed.csv``."""
    return out.with_name(f"{out.stem}.{ending}")


def check_out(out: Path) -> None:
    """Whether the list can be ``out``.

    Raises:
        StegoError: it is a folder, or one of the list's own companions.
    """
    refuse_folder(out, "list.txt")
    if any(beside(out, ending) == out for ending in ENDINGS):
        raise StegoError(f"--out {out}: so the numbers beside the list are called; expected another ending, such as .txt")


def write_outcome(outcome: Outcome, progress: Progress) -> None:
    """Write the report, the table of removals, the numbers, and last the list: where it is, the others are too.

    Raises:
        StegoError: one cannot be written.
    """
    from pretrain.curate.report import report_page

    out = outcome.settings.out
    report, removed, numbers = (beside(out, ending) for ending in ENDINGS)
    write_text(report, report_page(outcome, progress))
    write_bytes(removed, _table(outcome))
    write_text(numbers, json.dumps(outcome.as_dict(), indent=2, default=str) + "\n")
    write_bytes(out, list_text(outcome.paths))


def _table(outcome: Outcome) -> bytes:
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["image", "because", "of", "similarity"])
    for part, removals in ((outcome.pool, outcome.removals), (outcome.like, outcome.withheld)):
        for removal in removals:
            writer.writerow([part.paths[removal.row], f"like the {removal.of}", outcome.other(removal), f"{removal.similarity:.4f}"])
    for name, reason in outcome.failures:
        writer.writerow([name, reason, "", ""])
    return buffer.getvalue().encode("utf-8", errors="surrogateescape")
