"""``stego curate``: images worth training on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stego_app import LARGEST_SEED
from stego_app.commands.failures import leave_with


def curate(
    pool: Annotated[list[str], typer.Argument(help="Folders, images or @lists to choose from.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The list of paths to write; a report and a table of what was left out lie beside it.")],
    like: Annotated[list[str] | None, typer.Option(help="A curated set (folder or @list) whose like is wanted; repeat for several.")] = None,
    not_like: Annotated[list[str] | None, typer.Option(help="An evaluation set: nothing that resembles its images is taken; repeat for several.")] = None,
    method: Annotated[str, typer.Option(help="auto, nearest, clusters, balanced or all.")] = "auto",
    nearest: Annotated[int | None, typer.Option("--nearest", "-n", min=1, help="For --method nearest: images for each curated image; 4 if not given.")] = None,
    per_cluster: Annotated[
        int | None, typer.Option(min=1, help="For --method clusters: images of each cluster that holds a curated image; 100 if not given.")
    ] = None,
    clusters: Annotated[int | None, typer.Option(min=1, help="For --method clusters: clusters of the pool; the square root of its size if not given.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="At most so many images; without --like they are spread evenly over the pool.")] = None,
    keep_duplicates: Annotated[bool, typer.Option("--keep-duplicates", help="Leave near-duplicates within the pool in.")] = False,
    with_like: Annotated[bool, typer.Option("--with-like", help="Begin the list with the curated images, but for those like --not-like.")] = False,
    similarity: Annotated[float | None, typer.Option(help="From which two images are near-duplicates, 0 to 1; learnt from the pool if not given.")] = None,
    backbone: Annotated[str, typer.Option("--backbone", "-b", help="'default', a file, or any timm ViT name.")] = "default",
    resolution: Annotated[int, typer.Option(help="Side in pixels at which images are looked at.")] = 224,
    cache: Annotated[Path | None, typer.Option(help="Folder for descriptors; the user's cache folder if not given.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="The same seed gives the same list.")] = 0,
) -> None:
    """Choose images worth training on: no near-duplicates, none of your test images, like a curated set or evenly spread. Run again to go on."""
    from pretrain.curate import curate as run
    from pretrain.curate import make_settings
    from stego_app.progress import terminal_progress

    settings = make_settings(
        pool=tuple(pool),
        out=out,
        like=tuple(like or ()),
        not_like=tuple(not_like or ()),
        method=method,
        **{name: value for name, value in (("nearest", nearest), ("per_cluster", per_cluster), ("clusters", clusters)) if value is not None},
        images=images,
        keep_duplicates=keep_duplicates,
        with_like=with_like,
        similarity=similarity,
        backbone=backbone,
        resolution=resolution,
        cache=cache,
        device=device,
        seed=seed,
    )
    with terminal_progress() as progress:
        outcome = run(settings, progress, typer.echo)
    typer.echo(str(outcome))
    leave_with([(str(path), reason) for path, reason in outcome.failures])
