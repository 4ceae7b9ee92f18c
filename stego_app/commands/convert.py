"""``stego convert``: label maps from one tool's format into another's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_FORMATS = "png (a folder of `stego label`), voc, cvat-mask, cvat, coco, coco-instances, yolo, labelme, label-studio, geotiff or overlay"


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="What to read: a folder written by `stego label`, or a file or folder in the format of --from.")],
    out: Annotated[Path, typer.Argument(help="A folder; each format has its usual name in it, e.g. OUT/coco.json.")],
    to: Annotated[
        list[str], typer.Option("--to", help="png, voc, cvat-mask, cvat, coco, coco-instances, yolo, labelme, label-studio, geotiff or overlay. Repeatable.")
    ],
    origin: Annotated[str | None, typer.Option("--from", help="Format of IN, one of those but overlay; png if not given.")] = None,
    images: Annotated[str | None, typer.Option(help="The images: folder, zip, pattern or @list.txt; for yolo, overlay and geotiff's place.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; one per core if not given.")] = None,
) -> None:
    """Convert label maps between formats: classes, colours and pixels without class go along."""
    from stego_app.labelling.convert import convert as run
    from stego_app.progress import terminal_progress

    with terminal_progress() as progress:
        count, written = run(source, out, origin, to, images=images, jobs=jobs, progress=progress)
    typer.echo(f"converted {count} label maps; wrote {', '.join(str(path) for path in written)}")
