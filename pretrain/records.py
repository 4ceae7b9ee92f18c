"""What a run leaves beside its backbone: a CSV of every logged step, TensorBoard events, curves and a page that shows them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.errors import StegoError
from pretrain.health import Health
from stego_app.atomic import write_bytes, write_text
from stego_app.report import html
from stego_app.valid_text import text_name


class Records:
    """Logs of one run in ``folder``. Rows of steps from ``first_step`` on, of an earlier run that was cut off, are dropped.

    The CSV has one row a line: step, name, value; so that methods may log what they like.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "metrics.csv"
        kept = [row for row in read_metrics(self.path) if row[0] <= first_step] if first_step else []
        write_text(self.path, "step,name,value\n" + "".join(f"{step},{name},{value!r}\n" for step, name, value in kept))
        self.board: Any = SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append ``values`` of ``step``."""
        with self.path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([step, name, repr(float(value))] for name, value in values.items())
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush TensorBoard's events."""
        self.board.close()


def check_name(out: Path) -> None:
    """That TensorBoard can write beside ``out``: it takes no name whose bytes are not UTF-8.

    Raises:
        StegoError: it cannot.
    """
    if text_name(str(out.absolute())) != str(out.absolute()):
        raise StegoError(f"--out {out}: expected a path in UTF-8, since TensorBoard's events lie beside the file")


def read_metrics(path: Path) -> list[tuple[int, str, float]]:
    """Rows (step, name, value) of a metrics file; a line cut off by a crash is left out."""
    if not path.is_file():
        return []
    rows = []
    with path.open(newline="") as file:
        for row in csv.reader(file):
            try:
                rows.append((int(row[0]), row[1], float(row[2])))
            except (ValueError, IndexError):
                continue
    return rows


def write_report(folder: Path, title: str, facts: Mapping[str, Any], history: Sequence[Health], verdict: str) -> Path:
    """Write ``curves.png`` and ``report.html`` (self-contained) into ``folder``; the page's path is returned."""
    picture = _curves(read_metrics(folder / "metrics.csv"), history)
    write_bytes(folder / "curves.png", picture)
    sections = [
        ("Curves", html.picture(picture, "curves of the run")),
        ("Run", html.table(["", ""], facts.items())),
        ("Health", html.table(["step", ""], [(health.step, health.line()) for health in history])),
    ]
    path = folder / "report.html"
    write_text(path, html.page(title, verdict, sections))
    return path


def _curves(rows: Sequence[tuple[int, str, float]], history: Sequence[Health]) -> bytes:
    from matplotlib.figure import Figure

    series = {"loss": [(step, value) for step, name, value in rows if name == "loss"]}
    titles = {
        "std": "feature standard deviation (0: collapse)",
        "rank": "effective rank (RankMe)",
        "teacher_entropy": "teacher entropy (1: uniform)",
        "knn": "k-NN accuracy",
    }
    for name in titles:
        series[name] = [(health.step, value) for health in history if (value := asdict(health)[name]) is not None]
    shown = [name for name, points in series.items() if points]
    figure = Figure(figsize=(4 * max(1, len(shown)), 3), layout="constrained")  # a run interrupted before its first check has no curve yet
    for number, name in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), number + 1)
        axes.plot(*zip(*series[name], strict=True), marker="" if name == "loss" and len(series[name]) > 1 else ".")
        axes.set_title(titles.get(name, name), fontsize=9)
        axes.set_xlabel("step")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
