"""``stego export``: a model as a graph for programs without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    kind: Annotated[str, typer.Argument(metavar="onnx|openvino", help="The kind of graph.", show_default=False)],
    model: Annotated[str, typer.Argument(help="A segmenter or backbone file, 'default', or another backbone's name.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="The file to write: .onnx, or .xml for OpenVINO (its .bin goes beside it).", show_default=False)],
) -> None:
    """Write the network (backbone; of a segmenter also head and clusters) as a graph for images of any size, compared with torch before it is kept."""
    from stego_app.runtime.export_model import export_model

    made = export_model(kind, model, out, lambda line: typer.echo(f"stego: {line}", err=True))
    for name, agreement in made.agreement.items():
        typer.echo(f"{name}: {agreement}")
    typer.echo(f"wrote {', '.join(f'{path} ({path.stat().st_size / 1e6:.1f} MB)' for path in made.files)}")
