"""The table as a bar plot with the spread over seeds, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.bench.methods import DEFAULT, LINEAR, LINEAR_CODES
from benchmarks.bench.table import Column, Summaries, title_of
from stego_app.atomic import write_bytes

_OURS, _CEILING = "#d1495b", "#b0b0b0"


def plot(found: Summaries, columns: Sequence[Column], methods: Mapping[str, str], title: str, path: Path) -> None:
    """Write a PNG: a panel a column, a bar a method, mIoU with its standard deviation over seeds; accuracy as a dot.

    Raises:
        StegoError: the file cannot be written.
    """
    shown = [(name, method) for name, method in methods.items() if any((method, column) in found for column in columns)]
    figure = Figure(figsize=(3.2 + 3.0 * len(columns), 1.4 + 0.34 * len(shown)), dpi=130, layout="constrained")
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    palette = colormaps["viridis"]
    for panel, column in zip(panels, columns, strict=True):
        for row, (_, method) in enumerate(shown):
            if (method, column) not in found:
                continue
            summary = found[method, column]
            colour = _OURS if method == DEFAULT else _CEILING if method in {LINEAR, LINEAR_CODES} else palette(0.15 + 0.6 * row / max(1, len(shown)))
            panel.barh(row, summary.miou, color=colour, xerr=summary.spread or None, error_kw={"elinewidth": 1, "capsize": 2})
            panel.plot(summary.accuracy, row, "o", color="black", markersize=3)
            panel.text(summary.miou + summary.spread + 1, row, f"{summary.miou:.1f}", va="center", fontsize=7)
        panel.set_title(title_of(column), fontsize=9)
        panel.set_xlim(0, 100)
        panel.grid(axis="x", linewidth=0.4, alpha=0.6)
        panel.set_axisbelow(True)
        panel.tick_params(labelsize=8)
    panels[0].set_yticks(range(len(shown)), [name for name, _ in shown])
    panels[0].invert_yaxis()
    figure.suptitle(f"{title}\nbars: mIoU ± standard deviation over seeds; dots: accuracy (per cent)", fontsize=9)
    buffer = BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    write_bytes(path, buffer.getvalue())
