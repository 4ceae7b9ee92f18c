"""``stego probe``: what a frozen backbone knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from stego_app import LARGEST_SEED
from stego_app.commands.failures import leave_with

OF_IMAGES = ("kind", "block", "layout", "labels", "pictures", "cache")
"""Options that mean nothing to clips; to scans neither do a resolution and a limit."""


def probe(
    context: typer.Context,
    backbone: Annotated[
        str, typer.Argument(help="'default', a backbone file, a .pth, any timm ViT name, an encoder of clips, a lidar backbone, or 'random:' and one.")
    ],
    data: Annotated[
        Path, typer.Argument(help="Images in class folders (or train.tar and test.tar of such), a data set with label maps, clips, or labelled scans.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for probe.json, probe.md and the pictures.")] = Path("stego-probe"),
    kind: Annotated[str, typer.Option(help="classes, dense, or auto: label maps where there are some.")] = "auto",
    block: Annotated[int | None, typer.Option(min=0, help="Block whose tokens are probed; the backbone's own choice if not given.")] = None,
    resolution: Annotated[int | None, typer.Option(min=1, help="Pixels of the (short) side; the backbone's own if not given.")] = None,
    layout: Annotated[str, typer.Option(help="auto, folder, camvid, cocostuff27, cityscapes27 or potsdam3.")] = "auto",
    labels: Annotated[Path | None, typer.Option(help="A folder of label PNGs, for a plain folder of images.")] = None,
    limit: Annotated[int | None, typer.Option(min=2, help="At most so many images to learn from, and to score on.")] = None,
    pictures: Annotated[int, typer.Option(min=0, max=32, help="Images in each picture; 0 for none.")] = 6,
    cache: Annotated[Path | None, typer.Option(help="Folder for features; the user's cache folder if not given.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="The same seed gives the same scores on the same machine.")] = 0,
) -> None:
    """Score a frozen backbone: k-NN and linear probe on classes, or on label maps linear probe and k-means of patches; and draw what it sees.

    An encoder of clips is asked by an attentive probe whether frames are in order, and which folder and video a clip is of.
    """
    from models.lidar.backbone import is_lidar_backbone
    from pretrain.video.probe import is_video_encoder
    from stego_app.progress import terminal_progress

    if is_lidar_backbone(backbone):
        _refuse(context, (*OF_IMAGES, "resolution", "limit"), "a lidar backbone, which is probed on scans")
        _probe_scans(backbone, data, out, device, seed)
        return
    if is_video_encoder(backbone):
        _refuse(context, OF_IMAGES, "an encoder of clips")
        _probe_clips(backbone, data, out, resolution, limit, device, seed)
        return
    from pretrain.probe import make_settings
    from pretrain.probe import probe as run

    settings = make_settings(
        backbone=backbone,
        data=data,
        out=out,
        kind=kind,
        block=block,
        resolution=resolution,
        layout=layout,
        labels=labels,
        limit=limit,
        pictures=pictures,
        cache=cache,
        device=device,
        seed=seed,
    )
    with terminal_progress() as progress:
        report = run(settings, progress)
    typer.echo(report.as_markdown())
    typer.echo(f"wrote {out}")
    leave_with(report.failures)


def _refuse(context: typer.Context, names: Sequence[str], backbone: str) -> None:
    """Refuse options that would do nothing."""
    from models.errors import StegoError

    given = [name for name in names if (source := context.get_parameter_source(name)) is not None and source.name == "COMMANDLINE"]
    if given:
        raise StegoError(f"--{given[0]}: means nothing to {backbone}; leave it out")


def _probe_scans(backbone: str, data: Path, out: Path, device: str, seed: int) -> None:
    """The probe of a lidar backbone on labelled scans."""
    from pretrain.lidar.probe import probe_scans
    from stego_app.progress import terminal_progress

    with terminal_progress() as progress:
        found = probe_scans(backbone, data, out, device=device, seed=seed, progress=progress)
    typer.echo(found.as_markdown())
    typer.echo(f"wrote {out}")
    leave_with(found.failures)


def _probe_clips(encoder: str, data: Path, out: Path, resolution: int | None, limit: int | None, device: str, seed: int) -> None:
    """The probe of an encoder of clips."""
    from pretrain.video.probe import probe_clips
    from stego_app.progress import terminal_progress

    with terminal_progress() as progress:
        found = probe_clips(encoder, data, out, side=resolution, limit=limit, device=device, seed=seed, progress=progress)
    typer.echo(found.as_markdown())
    typer.echo(f"wrote {out}")
    leave_with(found.failures)
