"""``stego lidar``: classes of points in lidar scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stego_app import LARGEST_SEED
from stego_app.commands.failures import leave_with

lidar_app = typer.Typer(help="Classes of points in lidar scans, without labels.", no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@lidar_app.command("train")
def train_scans(
    scans: Annotated[Path, typer.Argument(help="A folder of scans: .bin (KITTI), .pcd.bin (nuScenes), .pcd, .npz.")],
    backbone: Annotated[str, typer.Option("--backbone", "-b", help="A file of `stego pretrain also`; 'random:' and one for its shape untrained.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The segmenter file to write, e.g. street.safetensors.")],
    classes: Annotated[int | None, typer.Option("--classes", "-k", min=1, help="How many classes; found from the scans if not given.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="The same seed gives the same file on the same machine.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    cache: Annotated[Path | None, typer.Option(help="Folder for features; the user's cache folder if not given.")] = None,
) -> None:
    """Find classes that hold across scans. Features are kept: run again after an interruption to go on."""
    from stego_app.lidar.train import train_lidar_segmenter
    from stego_app.progress import terminal_progress

    with terminal_progress() as progress:
        found = train_lidar_segmenter(scans, backbone, out, classes=classes, seed=seed, device=device, cache=cache, progress=progress)
    for note in found.notes:
        typer.echo(note)
    typer.echo(f"wrote {out}: {found.classes} classes, {found.fine} fine clusters")
    leave_with([(str(path), reason) for path, reason in found.failures])


@lidar_app.command("label")
def label_scans(
    scans: Annotated[Path, typer.Argument(help="A scan, or a folder of scans.")],
    out: Annotated[Path, typer.Argument(help="Folder for labels/*.label (SemanticKITTI's uint32), classes.csv and pictures/.")],
    model: Annotated[Path, typer.Option("--model", "-m", help="A file of `stego lidar train`.")],
    classes: Annotated[int | None, typer.Option("--classes", "-k", min=1, help="Cut the tree of clusters into so many classes.")] = None,
    pictures: Annotated[int, typer.Option(min=0, help="Scans to draw from above, spread evenly.")] = 6,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Give every point of every scan its class. Run again after an interruption to go on."""
    from stego_app.lidar.label import label_scans as run
    from stego_app.progress import terminal_progress

    with terminal_progress() as progress:
        result = run(scans, out, model, classes=classes, pictures=pictures, device=device, progress=progress)
    typer.echo(f"labelled {result.done} scans" + (f", kept {result.kept} from before" if result.kept else "") + f"; wrote {out}")
    leave_with([(str(path), reason) for path, reason in result.failures])
