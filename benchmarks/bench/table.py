"""The cells that exist, as rows of a markdown table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench.cells import Setting, cell_path
from benchmarks.bench.methods import DEFAULT, LINEAR, LINEAR_CODES, PEERS
from benchmarks.bench.tasks import Task

Column = tuple[Task, bool]
"""A task, without or with CRF."""


@dataclass(frozen=True)
class Summary:
    """Means over ``seeds`` runs in per cent; ``spread`` is the standard deviation of mIoU, 0 for a single run."""

    miou: float
    spread: float
    accuracy: float
    seeds: int

    def shown(self, asked: int) -> str:
        """``mIoU ± spread / accuracy``, and how many seeds where it is not as many as were asked for."""
        spread = f" ± {self.spread:.1f}" if self.seeds > 1 else ""
        return f"{self.miou:.1f}{spread} / {self.accuracy:.1f}" + ("" if self.seeds == asked else f" ({self.seeds})")


Summaries = Mapping[tuple[str, Column], Summary]


def summarise(paths: Iterable[Path]) -> Summary | None:
    """What the cells at ``paths`` say together; None if none is there."""
    cells = [json.loads(path.read_text()) for path in paths if path.exists()]
    if not cells:
        return None
    mious = [cell["miou"] for cell in cells]
    spread = statistics.stdev(mious) if len(cells) > 1 else 0.0
    return Summary(statistics.mean(mious), spread, statistics.mean(cell["accuracy"] for cell in cells), len(cells))


def summaries(setting: Setting, tasks: Sequence[Task], methods: Iterable[str], seeds: Sequence[int], crfs: Sequence[bool]) -> Summaries:
    """By method and column; what has no cell is left out. Probes have cells without CRF only."""
    found: dict[tuple[str, Column], Summary] = {}
    for method in methods:
        for column in columns_of(tasks, crfs):
            summary = summarise(cell_path(setting, column[0], method, seed, column[1]) for seed in seeds)
            if summary is not None:
                found[method, column] = summary
    return found


def columns_of(tasks: Sequence[Task], crfs: Sequence[bool]) -> list[Column]:
    """One column a task, with CRF beside it where asked for."""
    return [(task, crf) for task in tasks for crf in crfs]


def title_of(column: Column) -> str:
    """The head of a column."""
    return column[0].name + (" + CRF" if column[1] else "")


def table(found: Summaries, columns: Sequence[Column], methods: Mapping[str, str], seeds: int) -> str:
    """Markdown: a row a method, then the ratios that say how the default stands."""
    lines = ["| | " + " | ".join(title_of(column) for column in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for title, method in methods.items():
        cells = [found[method, column].shown(seeds) if (method, column) in found else "not run" for column in columns]
        if any(cell != "not run" for cell in cells):
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    for title, ratio in ratios(found, columns).items():
        lines.append(f"| {title} | " + " | ".join(ratio) + " |")
    return "\n".join(lines)


def ratios(found: Summaries, columns: Sequence[Column]) -> dict[str, list[str]]:
    """Row to one text a column: default ÷ best peer (the best by mIoU, and the best by accuracy), and shares of the linear probe."""
    rows: dict[str, list[str]] = {"default ÷ best peer": [], "default ÷ linear probe, mIoU": [], "probe on detailed codes ÷ on features, mIoU": []}
    for column in columns:
        default = found.get((DEFAULT, column))
        peers = [found[peer, column] for peer in PEERS if (peer, column) in found]
        # The probe has no CRF: with one, the default is compared to the probe without.
        probe, codes = found.get((LINEAR, (column[0], False))), found.get((LINEAR_CODES, (column[0], False)))
        best = "–"
        if default and peers:
            miou, accuracy = max(peer.miou for peer in peers), max(peer.accuracy for peer in peers)
            best = f"{_share(default.miou, miou)} / {_share(default.accuracy, accuracy)}"
        rows["default ÷ best peer"].append(best)
        rows["default ÷ linear probe, mIoU"].append(_share(default.miou, probe.miou) if default and probe else "–")
        rows["probe on detailed codes ÷ on features, mIoU"].append(_share(codes.miou, probe.miou) if codes and probe else "–")
    return {title: cells for title, cells in rows.items() if any(cell != "–" for cell in cells)}


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.2f}×" if whole > 0 else "–"
