"""``stego label``: a folder of images in, label maps out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def label(
    source: Annotated[Path, typer.Argument(help="An image or a folder of images; sub-folders are followed.")],
    out: Annotated[Path, typer.Argument(help="Where the label maps go: OUT/labels/<same sub-path>.png")],
    model: Annotated[str, typer.Option("--model", "-m", help="A segmenter file, or 'default'.")] = "default",
    fit: Annotated[bool, typer.Option(help="Find the classes in this folder itself, then label it (no segmenter needed).")] = False,
    classes: Annotated[int | None, typer.Option("--classes", "-k", min=1, help="How many classes; the model's own number if not given.")] = None,
    crf: Annotated[bool, typer.Option(help="Refine edges with a dense CRF.")] = True,
    flip: Annotated[bool, typer.Option(help="Average with the mirrored image: twice the time, slightly better.")] = False,
    overlays: Annotated[bool, typer.Option(help="Also write the colours over the pictures, to OUT/overlays/.")] = False,
    resolution: Annotated[int | None, typer.Option(min=28, max=4096, help="Short side for the backbone in pixels; the model's own if not given.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 4,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes for the CRF; one per core if not given.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of --fit.")] = 0,
) -> None:
    """Label every image of a folder. Run it again after an interruption: only what is left is done."""
    from stego_app.labelling import LabelSettings, label_folder
    from stego_app.progress import terminal_progress
    from stego_app.segmenter import Segmenter

    with terminal_progress() as progress:
        if fit:
            segmenter = Segmenter.fit_folder(source, classes=classes, resolution=resolution, device=device, seed=seed, progress=progress)
        else:
            segmenter = Segmenter.load(model, device=device)
        settings = LabelSettings(classes=classes, crf=crf, flip=flip, overlays=overlays, resolution=resolution, batch_size=batch_size, jobs=jobs)
        summary = label_folder(source, out, segmenter, settings, progress)
    typer.echo(str(summary))
    if summary.failed:
        raise typer.Exit(1)
