"""``stego demo``: see it work on the photos that come with the installed packages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("stego-demo"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Segment a few photos with the embedded segmenter and write the overlays and an album."""
    from stego_app.demo import run_demo
    from stego_app.progress import terminal_progress

    with terminal_progress() as progress:
        album = run_demo(out, device=device, progress=progress)
    typer.echo(f"look at {album}")
