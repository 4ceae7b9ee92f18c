"""What an evaluation found, as JSON, Markdown and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.errors import StegoError
from stego_app.atomic import write_bytes, write_text
from stego_app.evaluation.confusion import confusion_picture
from stego_app.evaluation.error_prediction import COVERAGES, ErrorPrediction
from stego_app.evaluation.scores import Scores

TITLES = {
    "hungarian": "clusters, Hungarian",
    "hungarian_crf": "clusters, Hungarian, CRF",
    "majority": "clusters, majority class (many to one)",
    "majority_crf": "clusters, majority class (many to one), CRF",
    "linear_features": "linear probe on features (trained with labels)",
    "linear_codes": "linear probe on codes (trained with labels)",
    "linear_detailed_codes": "linear probe on detailed codes (trained with labels)",
}
_COLUMNS = {
    "hungarian": "IoU",
    "hungarian_crf": "IoU, CRF",
    "linear_features": "linear, features",
    "linear_codes": "linear, codes",
    "linear_detailed_codes": "linear, detailed codes",
}


@dataclass(frozen=True)
class EvaluationReport:
    """Scores of a segmenter on a data set.

    Attributes:
        dataset: its name.
        segmenter: what it knows of itself.
        settings: with which it was scored; ``classes`` is the granularity used.
        clusters: names of the segmenter's classes.
        images: how many were scored.
        scores: by the keys of `TITLES`.
        notes: sentences to read beside the scores.
        failures: (image, reason) of those left out.
        errors: how confidence predicts errors, by the keys of `TITLES` that are of clusters; empty where the segmenter cannot tell confidence.
    """

    dataset: str
    segmenter: Mapping[str, Any]
    settings: Mapping[str, Any]
    clusters: tuple[str, ...]
    images: int
    scores: Mapping[str, Scores]
    notes: tuple[str, ...] = ()
    failures: tuple[tuple[str, str], ...] = ()
    errors: Mapping[str, ErrorPrediction] = field(default_factory=dict)

    @property
    def main(self) -> Scores:
        """Hungarian, with the CRF where it was used."""
        return self.scores.get("hungarian_crf") or self.scores["hungarian"]

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "dataset": self.dataset,
            "segmenter": dict(self.segmenter),
            "settings": dict(self.settings),
            "clusters": list(self.clusters),
            "images": self.images,
            "scores": {key: scores.as_dict() for key, scores in self.scores.items()},
            "error_prediction": {key: found.as_dict() for key, found in self.errors.items()},
            "notes": list(self.notes),
            "failures": [{"image": image, "reason": reason} for image, reason in self.failures],
        }

    def as_markdown(self) -> str:
        """The scores as tables to read."""
        name = self.segmenter.get("name", "segmenter")
        lines = [f"# {self.dataset}", "", f"Segmenter {name}, {len(self.clusters)} classes, {self.images} images; per cent, over all pixels of the set.", ""]
        lines += _table(["", "mIoU", "accuracy"], [[TITLES[key], f"{found.miou:.1f}", f"{found.accuracy:.1f}"] for key, found in self.scores.items()])
        shown = [key for key in _COLUMNS if key in self.scores]
        lines += ["", *_table(["class", "share of pixels", *(_COLUMNS[key] for key in shown), "cluster"], self._per_class(shown))]
        if self.errors:
            header = ["confidence", "AUROC of errors", *(f"accuracy, surest {share:.0%}".replace("%", " %") for share in COVERAGES)]
            lines += ["", *_table(header, [[TITLES[key], *_cells(found)] for key, found in self.errors.items()], words=1)]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        if self.failures:
            lines += ["", f"{len(self.failures)} images were left out:", "", *(f"- {image}: {reason}" for image, reason in self.failures)]
        return "\n".join(lines) + "\n"

    def _per_class(self, shown: list[str]) -> list[list[str]]:
        main = self.main
        pixels = main.confusion.sum(axis=1)
        rows = []
        for label, class_name in enumerate(main.names):
            ious = [self.scores[key].per_class[label] for key in shown]
            matched = [self.clusters[cluster] for cluster, to in enumerate(main.matching) if to == label]
            share = 100 * pixels[label] / max(1, pixels.sum())
            rows.append([class_name, f"{share:.1f}", *("–" if iou is None else f"{iou:.1f}" for iou in ious), ", ".join(matched) or "–"])
        return rows


def make_folder(out: Path) -> None:
    """Make the folder for the report, before the work rather than after it.

    Raises:
        StegoError: it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StegoError(f"{out}: the folder cannot be made ({error.strerror or error})") from error


def write_report(report: EvaluationReport, out: Path) -> None:
    """Write ``scores.json``, ``scores.md`` and ``confusion.png`` into ``out``, each whole or not at all.

    Raises:
        StegoError: a file cannot be written.
    """
    mode = "with CRF" if "hungarian_crf" in report.scores else "without CRF"
    write_bytes(out / "confusion.png", confusion_picture(report.main, f"{report.dataset}: {report.segmenter.get('name', 'segmenter')}, Hungarian, {mode}"))
    write_text(out / "scores.md", report.as_markdown())
    write_text(out / "scores.json", json.dumps(report.as_dict(), indent=1) + "\n")


def _cells(found: ErrorPrediction) -> list[str]:
    return ["–" if found.auroc is None else f"{found.auroc:.2f}", *(f"{accuracy:.1f}" for _, accuracy in found.coverage)]


def _table(header: list[str], rows: list[list[str]], words: int | None = None) -> list[str]:
    """A Markdown table, its first and last columns to the left (``words`` = 1: only the first) and the others to the right; padded to be read as it is."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    left = {0} if words == 1 or len(header) == 3 else {0, len(header) - 1}

    def line(row: list[str]) -> str:
        padded = (cell.ljust(width) if column in left else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths, strict=True)))
        return f"| {' | '.join(padded)} |"

    rule = "|".join(f"{'-' * (width + 2)}" if column in left else f"{'-' * (width + 1)}:" for column, width in enumerate(widths))
    return [line(cells[0]), f"|{rule}|", *(line(row) for row in cells[1:])]
