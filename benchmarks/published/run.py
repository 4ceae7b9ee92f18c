"""A published benchmark from the data to the table: download or check, train, evaluate, print beside the published rows.

usage: python benchmarks/published/run.py {cocostuff27,cityscapes27,potsdam3,FILE.toml} --data FOLDER [--backbone vit-b8] [--smoke]

Trains the default, label-free objective and STEGO's own with its published shifts, and scores both as published: centre crop of
320 pixels, clusters matched once on the whole validation set, with and without flip averaging and CRF, linear probes. Every stage
leaves a record in the output folder; the same command goes on where it stopped. See docs/benchmarks.md for disk and time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.published.benchmark import Run, benchmark
from benchmarks.published.data import prepare_data
from benchmarks.published.recipes import BACKBONES, DATASETS, Recipe, load_recipe
from models.backbone_sources import load_backbone
from models.errors import StegoError
from stego_app.atomic import output_error
from stego_app.progress import terminal_progress

SMOKE_IMAGES, SMOKE_STEPS = 16, 20


def parse(arguments: Sequence[str] | None = None) -> tuple[argparse.Namespace, Recipe]:
    """The command line, and the recipe it names."""
    parser = argparse.ArgumentParser(prog="run.py", description=(__doc__ or "").split("\n\n")[0], epilog="docs/benchmarks.md says what each needs.")
    parser.add_argument("dataset", help=f"{', '.join(DATASETS)}, or a recipe in a TOML file")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set; filled where it may be downloaded")
    parser.add_argument("--backbone", default="vit-b8", help=f"{', '.join(BACKBONES)}, or any that `stego train` takes (default: vit-b8)")
    parser.add_argument("--block", type=int, help="block whose tokens are taken; the last if not given")
    parser.add_argument("--out", type=Path, help="folder of the results (default: runs/published/DATASET/BACKBONE)")
    parser.add_argument("--cache", type=Path, help="folder of the features (default: OUT/cache)")
    parser.add_argument("--images", type=int, help="train on so many images, evenly spaced, instead of all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--workers", type=int, help="processes for the CRF; one a core if not given")
    parser.add_argument("--smoke", action="store_true", help=f"{SMOKE_IMAGES} images of each split, {SMOKE_STEPS} steps, no download: a test")
    options = parser.parse_args(arguments)
    return options, load_recipe(options.dataset)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command.

    Raises:
        StegoError: anything a user can mend.
    """
    options, recipe = parse(arguments)
    backbone = BACKBONES.get(options.backbone, options.backbone)
    out = options.out or Path("runs/published") / recipe.name / Path(options.backbone).name.replace(":", "-")
    out = out / "smoke" if options.smoke else out
    network = load_backbone(backbone, options.block)  # before hours of downloads: a wrong name is known now
    with terminal_progress() as progress:
        if not options.smoke:
            prepare_data(recipe, options.data, _say, progress)
        elif not options.data.is_dir():
            raise StegoError(f"{options.data}: no such folder; --smoke downloads nothing, so the data must be there (without --smoke: {recipe.how[0]})")
        run = Run(
            recipe=recipe,
            data=options.data,
            backbone=backbone,
            block=options.block,
            out=out,
            cache=options.cache or out / "cache",
            images=SMOKE_IMAGES if options.smoke else options.images,
            val_images=SMOKE_IMAGES if options.smoke else None,
            steps=SMOKE_STEPS if options.smoke else recipe.stego.steps,
            seed=options.seed,
            device=options.device,
            workers=options.workers,
        )
        table = benchmark(run, network, _say, progress)
    print(table)
    if options.smoke:
        _say("smoke: every stage works; these numbers mean nothing")
    _say(f"wrote {out / 'results.md'}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def command() -> int:
    """`main` as a command: a problem is one line and an exit code."""
    try:
        main()
    except StegoError as error:
        _say(f"run.py: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _say("run.py: interrupted; run the same command again to go on from here")
        return 130
    except OSError as error:
        _say(f"run.py: {output_error(Path(error.filename or '.'), error)}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(command())
