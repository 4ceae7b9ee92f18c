"""Runs kept in a file, and drawn."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.speed.row import Row


def commit() -> str:
    """The commit that is measured, or "unknown" outside a clone."""
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def append(path: Path, rows: Sequence[Row], hardware: str) -> list[dict[str, Any]]:
    """Add a run to the file ``path``, one line of JSON a run; all its runs, the oldest first."""
    run = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit(), "hardware": hardware, "rows": [asdict(row) for row in rows]}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(run) + "\n")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def draw(runs: Sequence[dict[str, Any]], path: Path) -> None:
    """Each row's distance from its target over the runs, as a PNG: 1 is what was asked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name in dict.fromkeys(row["name"] for run in runs for row in run["rows"]):
        points = [(place, row["reference"] / row["ours"] / row["asked"]) for place, run in enumerate(runs) for row in run["rows"] if row["name"] == name]
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.axhline(1, color="black", linewidth=1)
    axes.set_yscale("log")
    axes.set_xticks(range(len(runs)), [run["commit"] for run in runs], rotation=45, ha="right")
    axes.set_ylabel("speed over target")
    axes.legend(fontsize="small")
    figure.savefig(path)
