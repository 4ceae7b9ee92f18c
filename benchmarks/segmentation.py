"""Unsupervised segmentation against labels: k-means, STEGO, PriMaPs-EM, CAUSE, the default recipe, and the supervised ceiling.

usage: python benchmarks/segmentation.py --data FOLDER [--backbone default|FILE] [--seeds 0,1,2] [--crf] [--plot FILE] [--variants all|NAMES] [--folders NAMES]

FOLDER holds ``camvid`` and ``msrc_v2`` and, if they are there, ``cocostuff27``, ``cityscapes27`` and ``potsdam3`` in their
published layouts. Prints a markdown table of mIoU ± standard deviation over seeds / accuracy, in %. K is the true number of
classes, and clusters are matched to classes by the Hungarian method on the histogram of the whole set, at the labels' own
resolution. Labels are used for that alone, except by the linear probes: they are trained on the labels of the split that
others are fitted to without, and on every other image where that split is the scored one.

Each cell is kept as a JSON file in the results folder, so that an interrupted run goes on where it stopped, and a finished
one only prints. Cells of the default carry a fingerprint of its code, those of the peers one of their settings.

With ``--variants`` the columns are variants of the shared sets (see ``benchmarks/bench/variants.py``) instead, with
``--folders`` other labelled folders below FOLDER: the methods compared on your own images.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.bench.cells import Setting, fill
from benchmarks.bench.methods import METHODS
from benchmarks.bench.plot import plot
from benchmarks.bench.recipe import recipe_fingerprint
from benchmarks.bench.table import columns_of, summaries, table
from benchmarks.bench.tasks import PUBLISHED, SHARED, Task, own_tasks, present, variant_tasks
from benchmarks.bench.variants import VARIANTS
from models.backbone_sources import load_backbone
from models.errors import StegoError
from stego_app.features import Resolution
from stego_app.progress import terminal_progress


def main() -> None:
    """Fill what is missing and print the table."""
    options = _options()
    tasks, absent = _tasks(options)
    for line in absent:
        print(line, file=sys.stderr)
    wanted = _listed("--methods", options.methods, list(METHODS.values()))
    methods = {title: method for title, method in METHODS.items() if method in wanted}
    seeds, crfs = [int(seed) for seed in options.seeds.split(",")], [False, True] if options.crf else [False]
    with terminal_progress() as progress:
        backbone = load_backbone(options.backbone, options.block)
        setting = Setting(
            options.data, options.results, backbone, _resolution(options), options.steps, options.brighten, options.cache, options.device, progress
        )
        if not options.only_print:
            fill(setting, tasks, list(methods.values()), seeds, crfs)
    spec = backbone.spec
    head = f"backbone {options.backbone} ({spec.architecture}, block {spec.block}, {backbone.fingerprint})"
    columns, found = columns_of(tasks, crfs), summaries(setting, tasks, methods.values(), seeds, crfs)
    print(f"{head}; STEGO {options.steps} steps; recipe {recipe_fingerprint()}; seeds {options.seeds}\n")
    print(table(found, columns, methods, len(seeds)))
    if options.plot:
        plot(found, columns, methods, head, options.plot)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("STEGO_DATA"), help="folder of the sets; $STEGO_DATA if not given")
    parser.add_argument("--backbone", default="default", help="'default', a file, or a timm name")
    parser.add_argument("--block", type=int, help="block whose tokens are taken")
    parser.add_argument("--size", help="HxW for all sets, instead of each its own")
    parser.add_argument("--resolution", type=int, help="short side, aspect kept, instead of an exact size")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, default=500, help="of STEGO's objective")
    parser.add_argument("--methods", help=f"some of {', '.join(METHODS.values())}, with commas; all if not given")
    parser.add_argument("--tasks", help=f"some of {', '.join(dict.fromkeys(task.folder for task in SHARED + PUBLISHED))}, with commas; all if not given")
    columns = parser.add_mutually_exclusive_group()
    columns.add_argument("--variants", help=f"variants of the shared sets as columns instead: all, or some of {', '.join(VARIANTS)}, with commas")
    columns.add_argument("--folders", help="other labelled folders below --data as columns instead, with commas, each fitted and scored on all its images")
    parser.add_argument("--brighten", action="store_true", help="show dark images brightened to all methods, not to the default alone")
    parser.add_argument("--crf", action="store_true", help="columns with CRF beside")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cache", type=Path, help="folder for features; the user's cache folder if not given")
    parser.add_argument("--results", type=Path, default=Path("runs/segmentation"), help="folder for the cells")
    parser.add_argument("--plot", type=Path, help="also draw the table into this PNG")
    parser.add_argument("--only-print", action="store_true", help="print the cells that exist, compute nothing")
    options = parser.parse_args()
    if options.data is None:
        raise StegoError("--data: expected the folder that holds camvid and msrc_v2 (or set STEGO_DATA)")
    options.data = Path(options.data)
    return options


def _tasks(options: argparse.Namespace) -> tuple[list[Task], list[str]]:
    """The columns asked for, and a line on each that is not there."""
    if options.variants:
        names = list(VARIANTS) if options.variants == "all" else _listed("--variants", options.variants, list(VARIANTS))
        return variant_tasks(names), []
    if options.folders:
        return own_tasks(options.folders.split(","), options.data), []
    known = [*SHARED, *PUBLISHED]
    folders = _listed("--tasks", options.tasks, [task.folder for task in known])
    tasks, absent = present([task for task in known if task.folder in folders], options.data)
    if not tasks:
        raise StegoError(f"--data {options.data}: expected at least one of the folders {', '.join(dict.fromkeys(folders))}")
    return tasks, absent


def _listed(option: str, given: str | None, known: list[str]) -> list[str]:
    """The names in ``given``, all of ``known`` if there are none."""
    names = given.split(",") if given else known
    if unknown := [name for name in names if name not in known]:
        raise StegoError(f"{option} {unknown[0]!r}: expected some of {', '.join(dict.fromkeys(known))}")
    return names


def _resolution(options: argparse.Namespace) -> Resolution | None:
    if not options.size:
        return int(options.resolution) if options.resolution else None
    sides = options.size.split("x")
    if len(sides) != 2 or not all(side.isdigit() for side in sides):
        raise StegoError(f"--size {options.size!r}: expected height x width, such as 336x448")
    return int(sides[0]), int(sides[1])


if __name__ == "__main__":
    try:
        main()
    except StegoError as error:
        sys.exit(str(error))
