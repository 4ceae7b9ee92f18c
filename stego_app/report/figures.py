"""The report's plots, drawn without a display and returned as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    FigureCanvasAgg(figure)  # draws without a display
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def similarity_histograms(edges: npt.NDArray[np.float64], densities: Mapping[str, npt.NDArray[np.float64]], shifts: Mapping[str, float], title: str) -> bytes:
    """Densities of cosine similarity for each kind of pair, with its shift as a dashed line of the same colour.

    Args:
        edges: (B + 1,) bin edges.
        densities: kind of pair to (B,) density.
        shifts: kind of pair to the shift b of STEGO's loss.
        title: says where the shifts come from.
    """
    figure = Figure(figsize=(8, 3.2), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for number, (kind, density) in enumerate(densities.items()):
        axes.stairs(density, edges, label=kind, color=f"C{number}", linewidth=1.6)
        if kind in shifts:
            axes.axvline(shifts[kind], color=f"C{number}", linestyle="--", linewidth=1, label=f"shift {kind} {shifts[kind]:.2f}")
    axes.set_xlabel("cosine similarity of two patches, spatially centred")
    axes.set_ylabel("density")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8)
    return _png(figure)


def cluster_sizes(names: Sequence[str], shares: Sequence[float], colors: npt.NDArray[np.uint8]) -> bytes:
    """Share of all patches in each class, as bars in the class's colour."""
    figure = Figure(figsize=(8, 0.6 + 0.24 * len(names)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.barh(range(len(names)), [100 * share for share in shares], color=colors / 255)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("% of patches")
    return _png(figure)


def training_curves(curves: Mapping[str, Sequence[float]]) -> bytes:
    """What was measured at each step of training: the terms of a loss, or one value that goes by its own name."""
    figure = Figure(figsize=(8, 3.2), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for name, values in curves.items():
        axes.plot(np.linspace(1, len(values), len(values)), values, label=name, linewidth=1.2)
    axes.set_xlabel("step")
    if len(curves) == 1:
        axes.set_ylabel(next(iter(curves)))
    else:
        axes.set_ylabel("loss")
        axes.legend(fontsize=8)
    return _png(figure)


def shares(bars: Sequence[tuple[str, float]], marks: Sequence[float]) -> bytes:
    """A bar from 0 to 1 for each (name, value), with a line at each of ``marks``."""
    names, values = [name for name, _ in bars], [value for _, value in bars]
    figure = Figure(figsize=(8, 0.6 + 0.24 * len(names)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.barh(range(len(names)), values, color="#5b7a99")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    for mark in marks:
        axes.axvline(mark, color="#8a4b00", linestyle="--", linewidth=1)
    return _png(figure)
