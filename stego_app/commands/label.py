"""``stego label``: a folder of images in, label maps out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def label(
    source: Annotated[Path, typer.Argument(help="An image or a folder of images; sub-folders are followed.")],
    out: Annotated[Path, typer.Argument(help="Where the label maps go: OUT/labels/<same sub-path>.png")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="A segmenter file, or 'default', which is meant if not given.")] = None,
    fit: Annotated[bool, typer.Option(help="Find the classes in this folder itself, then label it (no segmenter needed).")] = False,
    classes: Annotated[int | None, typer.Option("--classes", "-k", min=1, max=255, help="How many classes; the model's own number if not given.")] = None,
    crf: Annotated[bool, typer.Option(help="Refine edges with a dense CRF.")] = True,
    flip: Annotated[bool, typer.Option(help="Average with the mirrored image: twice the time, slightly better.")] = False,
    overlays: Annotated[bool, typer.Option(help="Also write the colours over the pictures, to OUT/overlays/.")] = False,
    confidence: Annotated[bool, typer.Option(help="Also write the confidence of each pixel, to OUT/confidence/ (8-bit, white = sure).")] = False,
    abstain: Annotated[float | None, typer.Option(help="Give no class (255) where confidence is below this, 0 to 1; 0.7 is a sensible start.")] = None,
    resolution: Annotated[int | None, typer.Option(min=28, max=4096, help="Short side for the backbone in pixels; the model's own if not given.")] = None,
    window: Annotated[int | None, typer.Option(min=0, max=4096, help="Side of overlapping windows in pixels, for fine detail in large images.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 4,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes for the CRF; one per core if not given.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of --fit; 0 if not given.")] = None,
) -> None:
    """Label every image of a folder. Run it again after an interruption: only what is left is done."""
    from models.errors import StegoError
    from stego_app.labelling import LabelSettings, label_folder
    from stego_app.labelling.names import plan_folder
    from stego_app.progress import terminal_progress
    from stego_app.segmenter import Segmenter

    if fit and model is not None:
        raise StegoError("--fit finds its own classes and --model brings some: give one of the two")
    if seed is not None and not fit:
        raise StegoError("--seed belongs to --fit: labelling with a model draws nothing at random")
    if abstain is not None and not 0 <= abstain <= 1:
        raise StegoError(f"--abstain {abstain}: expected 0 to 1")
    with terminal_progress() as progress:
        if fit:
            # What is planned is what is fitted: results of an earlier run inside the folder are no input.
            images = [plan.path for plan in plan_folder(source, out)]
            segmenter = Segmenter.fit(images, classes=classes, resolution=resolution, device=device, seed=seed or 0, progress=progress)
        else:
            segmenter = Segmenter.load(model or "default", device=device)
        settings = LabelSettings(
            classes=classes,
            crf=crf,
            flip=flip,
            abstain=abstain,
            confidence=confidence,
            overlays=overlays,
            resolution=resolution,
            window=window,
            batch_size=batch_size,
            jobs=jobs,
        )
        summary = label_folder(source, out, segmenter, settings, progress)
    typer.echo(str(summary))
    if summary.failed:
        raise typer.Exit(1)
