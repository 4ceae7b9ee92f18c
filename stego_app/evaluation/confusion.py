"""The confusion matrix as a picture, drawn without a display."""

from __future__ import annotations

import warnings
from io import BytesIO

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stego_app.evaluation.scores import Scores
from stego_app.valid_text import text_name

_SHOWN = 0.005  # smaller shares are left blank


def confusion_picture(scores: Scores, title: str) -> bytes:
    """PNG of the row-normalised confusion: each row a class, each cell the share of its pixels that was said to be the column's class.

    A last column holds pixels of clusters without a class, where there are any. Classes absent from the labels have empty rows.
    """
    rows = scores.confusion.astype(np.float64)
    columns = [*scores.names]
    if scores.confusion[:, -1].any():
        columns.append("(none)")
    else:
        rows = rows[:, :-1]
    shares = rows / np.maximum(scores.confusion.sum(axis=1, keepdims=True), 1)
    count = len(scores.names)
    side = 2.6 + 0.42 * count
    figure = Figure(figsize=(side + 0.6, side), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    # Names are a person's: signs of money in them are no formulas.
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=9, parse_math=False)
    rows_said = [f"{name}  {_percent(iou)}" for name, iou in zip(scores.names, scores.per_class, strict=True)]
    axes.set_yticks(range(count), rows_said, fontsize=9, parse_math=False)
    axes.set_xlabel("class of the matched cluster")
    axes.set_ylabel("class in the labels, with its IoU")
    axes.set_title(f"{text_name(title)}\nmIoU {scores.miou:.1f}, accuracy {scores.accuracy:.1f}", fontsize=10, loc="left", parse_math=False)
    for (row, column), share in np.ndenumerate(shares):
        if share >= _SHOWN:
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color="white" if share > 0.55 else "#333333")
    figure.colorbar(picture, ax=axes, fraction=0.03, pad=0.02, label="share of the row's pixels")
    buffer = BytesIO()
    with warnings.catch_warnings():  # of letters that the font lacks, which are boxes in the picture; the tables have them
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _percent(iou: float | None) -> str:
    return "–" if iou is None else f"{iou:.0f}"
