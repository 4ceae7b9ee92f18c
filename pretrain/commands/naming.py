"""``stego pretrain naming``: a bridge from words to a backbone's patches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stego_app import LARGEST_SEED


def naming(
    data: Annotated[list[Path], typer.Argument(help="Folders of images; each image's own folder is called what it shows.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The bridge file to write, e.g. bridge.safetensors.")],
    names: Annotated[Path | None, typer.Option(help='JSON: {"folder": ["name", "broader name", …]}, where folders are called otherwise.')] = None,
    backbone: Annotated[str, typer.Option("--backbone", "-b", help="'default', a backbone file, a .pth, or any timm ViT name.")] = "default",
    resolution: Annotated[int, typer.Option(min=28, max=4096, help="Short side for the backbone, in pixels.")] = 224,
    exclude: Annotated[list[str] | None, typer.Option(help="Leave out images of this name. Repeatable.")] = None,
    shuffle_names: Annotated[bool, typer.Option(help="A control: exchange the names at random.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="The same seed gives the same bridge.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    cache: Annotated[Path | None, typer.Option(help="Folder for cached features; the user's cache folder if not given.")] = None,
) -> None:
    """Fit a bridge by which `stego name` finds names for classes. Needs the extra `text`; features are cached, the fit takes seconds."""
    from pretrain.naming.run import BridgeSettings, train_bridge
    from stego_app.commands.failures import leave_with
    from stego_app.progress import terminal_progress

    settings = BridgeSettings(tuple(data), names, backbone, resolution, seed, device, cache, tuple(exclude or []), shuffle_names)
    failures: list[tuple[str, str]] = []
    with terminal_progress() as progress:
        bridge, held = train_bridge(settings, out, progress=progress, failures=failures)
    found = bridge.calibration
    typer.echo(f"names held out: the right one of {held.right.shape[1]} is first for {held.top1:.1%} (chance {1 / held.right.shape[1]:.1%})")
    typer.echo(f"where no word is right, none is taken for {found.rejection:.0%}; where one is, some word is taken for {found.acceptance:.0%}")
    typer.echo(f"wrote {out}")
    leave_with(failures)
