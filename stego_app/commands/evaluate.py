"""``stego eval``: score a segmenter on a labelled data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    data: Annotated[Path, typer.Argument(help="A labelled data set: a published layout, or a folder of images with --labels.")],
    model: Annotated[str, typer.Option("--model", "-m", help="A segmenter file, or 'default'.")] = "default",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for scores.json, scores.md and confusion.png.")] = Path("stego-eval"),
    layout: Annotated[str, typer.Option(help="auto, folder, camvid, cocostuff27, cityscapes27 or potsdam3.")] = "auto",
    split: Annotated[str | None, typer.Option(help="The split to score on, where the layout has splits.")] = None,
    labels: Annotated[Path | None, typer.Option(help="A folder of label PNGs, for a plain folder of images.")] = None,
    classes: Annotated[int | None, typer.Option("--classes", "-k", min=1, help="Cut of the tree; the data set's number of classes if not given.")] = None,
    crf: Annotated[str, typer.Option(help="'on', 'off' or 'both'.")] = "both",
    flip: Annotated[bool, typer.Option(help="Average with the mirrored image.")] = False,
    linear: Annotated[bool, typer.Option(help="Also train linear probes on features and codes (uses the labels).")] = True,
    resolution: Annotated[int | None, typer.Option(min=28, max=4096, help="Short side for the backbone in pixels; the model's own if not given.")] = None,
    window: Annotated[int | None, typer.Option(min=0, max=4096, help="Side of overlapping windows in pixels; 0 to see each image whole.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Score this many images only, evenly spaced.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Hungarian-matched mIoU and accuracy over the whole set, per class, with and without the CRF; and how confidence predicts errors."""
    from models.errors import StegoError
    from stego_app.data import open_dataset
    from stego_app.evaluation import EvaluationSettings, evaluate_segmenter
    from stego_app.progress import terminal_progress
    from stego_app.segmenter import Segmenter

    if crf not in {"on", "off", "both"}:
        raise StegoError(f"--crf {crf}: expected on, off or both")
    dataset = open_dataset(data, split=split, layout=layout, labels=labels)
    segmenter = Segmenter.load(model, device=device)
    settings = EvaluationSettings(classes=classes, crf=crf, flip=flip, linear_probe=linear, resolution=resolution, window=window, limit=limit)
    with terminal_progress() as progress:
        report = evaluate_segmenter(segmenter, dataset, settings, out, progress)
    typer.echo(report.as_markdown())
    typer.echo(f"wrote {out}")
    if report.failures:
        raise typer.Exit(1)
