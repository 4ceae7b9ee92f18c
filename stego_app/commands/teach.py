"""``stego teach``: a person's own classes from a few labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stego_app import LARGEST_SEED


def teach(
    model: Annotated[str, typer.Argument(help="A segmenter file, best trained on these images, or 'default'.")],
    data: Annotated[Path, typer.Argument(help="A folder of images, or a data set in a published layout; the unlabelled ones help too.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The segmenter file to write.")],
    labels: Annotated[Path | None, typer.Option(help="A folder of label PNGs for some of the images; one is enough.")] = None,
    layout: Annotated[str, typer.Option(help="auto, folder, camvid, cocostuff27, cityscapes27 or potsdam3.")] = "auto",
    split: Annotated[str | None, typer.Option(help="The split to learn from, where the layout has splits.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="The same seed gives the same file on the same machine.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    cache: Annotated[Path | None, typer.Option(help="Folder for cached features; the user's cache folder if not given.")] = None,
) -> None:
    """Teach a segmenter your own classes from as little as one labelled image. Classes that no label shows cannot be given."""
    from stego_app.commands.failures import leave_with
    from stego_app.data import open_dataset
    from stego_app.progress import terminal_progress
    from stego_app.segmenter import Segmenter
    from stego_app.teaching import teach as run

    segmenter = Segmenter.load(model, device=device)
    dataset = open_dataset(data, split=split, layout=layout, labels=labels)
    with terminal_progress() as progress:
        taught = run(segmenter, dataset, seed=seed, device=device, cache=cache, progress=progress)
    taught.segmenter.save(out)
    for path, reason in taught.failures:
        typer.echo(f"left out: {path}: {reason}")
    if taught.absent:
        typer.echo(f"not in any label, so not among the classes: {', '.join(taught.absent)}")
    typer.echo(f"wrote {out}: {taught.segmenter.default_classes} classes from {taught.images} labelled images of {len(dataset)}")
    leave_with(taught.failures)
