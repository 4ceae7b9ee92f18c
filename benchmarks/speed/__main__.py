"""Every target of speed as a ratio measured in one run: a markdown table, a plot, and a history.

usage: python -m benchmarks.speed [--rows features,crf,…] [--images FOLDER] [--rounds 3] [--threads 1] [--history speed.jsonl]

Both ways of a row take turns in one process, and the best turn counts; read the ratios, not the seconds. HISTORY gets a line of JSON a run, and a
plot beside it. Exit 0 whatever the ratios are: they say where to work next. What must not get worse is guarded by operation counts in the tests.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.runtimes import hardware
from benchmarks.speed.crf import crf
from benchmarks.speed.features import features
from benchmarks.speed.gpu import gpu_backbone, gpu_crf
from benchmarks.speed.head import head, training
from benchmarks.speed.history import append, commit, draw
from benchmarks.speed.labelling import labelling
from benchmarks.speed.neighbours import neighbours
from benchmarks.speed.pretraining import pretraining
from benchmarks.speed.refinement import refinement
from benchmarks.speed.row import Row
from benchmarks.speed.start import first_label, start

ROWS: dict[str, Callable[[Path | None, int], Row | str]] = {
    one.__name__.replace("_", "-"): one
    for one in (features, head, training, neighbours, crf, refinement, labelling, start, first_label, pretraining, gpu_backbone, gpu_crf)
}
TABLE = "| | task / reference | reference | ours | times as fast | asked | quality |\n|---|---|---|---|---|---|---|"


def line(row: Row) -> str:
    """A row of the table."""
    seconds = " | ".join(f"{1000 * value:.0f} ms" for value in (row.reference, row.ours))
    return f"| {row.name} | {row.what} | {seconds} ({row.clock}) | **{row.ratio:.2f}** | {row.asked:.2f} | {row.quality} |"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--images", type=Path, help="a folder of photos; the demo's if not given")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of torch and faiss")
    parser.add_argument("--history", type=Path, default=Path("speed.jsonl"))
    options = parser.parse_args()
    names = options.rows.split(",")
    if unknown := [name for name in names if name not in ROWS]:
        sys.exit(f"--rows {unknown[0]}: expected some of {', '.join(ROWS)}")
    import faiss

    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    print(f"{hardware()}; commit {commit()}\n\n{TABLE}", flush=True)
    rows = []
    for name in names:
        found = ROWS[name](options.images, options.rounds)
        if isinstance(found, Row):
            rows.append(found)
            print(line(found), flush=True)
        else:
            print(f"| {name} | not measured: {found} | | | | | |", flush=True)
    if rows:
        draw(append(options.history, rows, hardware()), options.history.with_suffix(".png"))


if __name__ == "__main__":
    main()
