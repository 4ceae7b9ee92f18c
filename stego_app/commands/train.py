"""``stego train``: images in, a segmenter file and a report out."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from models.errors import StegoError
from stego_app import LARGEST_SEED


def train(
    data: Annotated[Path, typer.Argument(help="A folder of images, or a data set in a published layout.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The segmenter file to write, e.g. plants.safetensors.")],
    classes: Annotated[str | None, typer.Option("--classes", "-k", help="How many classes, or 'auto'.")] = None,
    objective: Annotated[str | None, typer.Option(help="'auto' (nothing to tune) or 'stego' (the paper's loss).")] = None,
    shifts: Annotated[
        str | None, typer.Option(help="For --objective stego: 'quantile' (from the data) or published ones: cocostuff, cityscapes, potsdam …")
    ] = None,
    backbone: Annotated[str | None, typer.Option("--backbone", "-b", help="'default', a backbone file, a .pth, or any timm ViT name.")] = None,
    block: Annotated[int | None, typer.Option(min=0, help="Block whose tokens are taken; the backbone's own choice if not given.")] = None,
    resolution: Annotated[
        str | None, typer.Option(help="Short side for the backbone, in pixels, or 'auto': 224, and 448 where images show things smaller than its patches.")
    ] = None,
    crops: Annotated[str | None, typer.Option(help="'none', or 'five' for STEGO's five crops an image.")] = None,
    layout: Annotated[str | None, typer.Option(help="auto, folder, camvid, cocostuff27, cityscapes27 or potsdam3.")] = None,
    split: Annotated[str | None, typer.Option(help="The split to train on, where the layout has splits.")] = None,
    labels: Annotated[Path | None, typer.Option(help="A folder of label PNGs: used for scores in the report, never for choices.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="For --objective stego: training steps.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=LARGEST_SEED, help="The same seed gives the same file on the same machine.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for cached features; the user's cache folder if not given.")] = None,
    report: Annotated[Path | None, typer.Option(help="Folder of the report; beside OUT if not given.")] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only compute the features of part I of N, beside others that share the cache. See docs/scale.md.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A TOML file of settings.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="name=value for any setting. Repeatable.")] = None,
) -> None:
    """Find the classes of a data set and train a segmenter for them. Needs no labels and no tuning."""
    from stego_app.commands.failures import leave_with
    from stego_app.progress import terminal_progress
    from stego_app.settings import load_settings
    from stego_app.shard import Shard
    from stego_app.training_run import TrainConfig, compute_features, train_segmenter

    given = {
        "data": str(data),
        "classes": _number_or_auto("--classes", classes),
        "objective": objective,
        "stego.shifts": shifts,
        "stego.steps": steps,
        "backbone": backbone,
        "block": block,
        "resolution": _number_or_auto("--resolution", resolution),
        "crops": crops,
        "layout": layout,
        "split": split,
        "labels": str(labels) if labels else None,
        "seed": seed,
        "device": device,
        "cache": str(cache) if cache else None,
    }
    settings = load_settings(TrainConfig, file=config, overrides=set_ or [], fields=given)
    tell = partial(typer.echo, err=True)
    if shard is not None:
        part = Shard.parse(shard)
        with terminal_progress() as progress:
            done = compute_features(settings, part, progress, tell)
        typer.echo(f"part {shard}: {done.found} features of {done.images} images are cached; when all parts are, run the same command without --shard")
        leave_with(done.failures)
        return
    with terminal_progress() as progress:
        result = train_segmenter(settings, out, report=report or out.with_suffix(".report"), progress=progress, tell=tell)
    for line in result.findings:
        typer.echo(line)
    typer.echo(f"wrote {out}: {result.classes} classes, {result.fine} fine clusters; the report is {result.report}")
    leave_with(result.failures)


def _number_or_auto(option: str, given: str | None) -> int | str | None:
    if given is None or given == "auto":
        return given
    if not given.isdigit():
        raise StegoError(f"{option} {given}: expected a number or 'auto'")
    return int(given)
