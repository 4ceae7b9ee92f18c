"""The report of a training run: what was found, how it looks, and what to doubt."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stego_app.atomic import write_bytes, write_text
from stego_app.classes import ClassTable
from stego_app.insights.insight import findings_json, short_lines
from stego_app.report import figures, html
from stego_app.report.explanation import Explanation, as_sections


@dataclass(frozen=True)
class Histograms:
    """Similarity of the three kinds of pairs. ``edges`` (B + 1,), ``densities`` kind to (B,), ``shifts`` kind to b."""

    edges: npt.NDArray[np.float64]
    densities: Mapping[str, npt.NDArray[np.float64]]
    shifts: Mapping[str, float]
    source: str


@dataclass(frozen=True)
class TrainingReport:
    """Everything the report shows. ``samples`` are (caption, image, overlay)."""

    title: str
    lead: str
    table: ClassTable
    warnings: Sequence[str]
    notes: Sequence[str]
    samples: Sequence[tuple[str, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]
    config: Mapping[str, Any]
    explanation: Explanation | None = None
    histograms: Histograms | None = None
    losses: Mapping[str, Sequence[float]] = field(default_factory=dict)
    scores: Sequence[Sequence[object]] = ()
    failures: Sequence[tuple[str, str]] = ()


def write_report(folder: Path, report: TrainingReport) -> Path:
    """Write ``report.html`` and its plots and numbers (``report.json``, ``findings.json``) into ``folder``; returns the page's path.

    Raises:
        StegoError: the folder cannot be made or written to.
    """
    shares = [entry.share for entry in report.table.classes]
    plots = {"cluster_sizes": figures.cluster_sizes(report.table.names, shares, report.table.palette)}
    if report.histograms:
        shown = report.histograms
        plots["similarities"] = figures.similarity_histograms(shown.edges, shown.densities, shown.shifts, shown.source)
    if report.losses:
        plots["losses"] = figures.training_curves(report.losses)
    for name, png in plots.items():
        write_bytes(folder / f"{name}.png", png)
    sections = [
        ("What to doubt", html.findings(report.warnings, warning=True)),
        ("What was found", html.findings([*report.notes, *(short_lines(report.explanation.sections) if report.explanation else ())])),
        ("Classes", html.legend(report.table.names, [entry.color for entry in report.table.classes], shares)),
        ("Samples", html.pairs(report.samples)),
        *(as_sections(report.explanation) if report.explanation else ()),
        ("Scores against the labels (not used for any choice)", html.table(["", "mIoU", "accuracy"], report.scores)),
        ("Class sizes", html.picture(plots["cluster_sizes"], "share of patches in each class")),
        ("Similarity of pairs of patches", html.picture(plots["similarities"], "histograms of similarity") if "similarities" in plots else ""),
        ("Training of the head", html.picture(plots["losses"], f"{', '.join(report.losses)} against the step") if "losses" in plots else ""),
        ("Images and labels that were left out", html.table(["file", "reason"], report.failures)),
        ("Settings", f"<pre>{escape(json.dumps(dict(report.config), indent=1, default=str))}</pre>"),
    ]
    summary = {
        "warnings": list(report.warnings),
        "notes": list(report.notes),
        "classes": [{"label": entry.label, "name": entry.name, "share": entry.share} for entry in report.table.classes],
        "scores": [list(row) for row in report.scores],
        "failures": [list(row) for row in report.failures],
        "shifts": dict(report.histograms.shifts) if report.histograms else {},
        "config": dict(report.config),
    }
    write_text(folder / "report.json", json.dumps(summary, indent=1, default=str))
    if report.explanation:
        found = findings_json(report.explanation.sections, report.explanation.names)
        write_text(folder / "findings.json", json.dumps(found, indent=1))
    page = folder / "report.html"
    write_text(page, html.page(report.title, report.lead, sections))
    return page
