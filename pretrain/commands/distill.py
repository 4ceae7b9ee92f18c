"""``stego pretrain distill``: a smaller backbone from a frozen teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stego_app import LARGEST_SEED


def distill(
    data: Annotated[list[Path], typer.Argument(help="Folders of images; labels are never used.")],
    teacher: Annotated[str, typer.Option("--teacher", "-t", help="A backbone file, a .pth, or any timm ViT name.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The backbone file to write.")],
    teacher_block: Annotated[int | None, typer.Option(min=0, help="Block whose tokens are the target; the teacher's own choice if not given.")] = None,
    depth: Annotated[int, typer.Option(min=1, help="Blocks of the student.")] = 8,
    start: Annotated[str | None, typer.Option(help="Teacher's blocks to start from: first, last or even; first if not given.")] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Average the teacher over these: plain, mirror, enlarged (repeat the option); plain and mirror if not given.")
    ] = None,
    student: Annotated[str | None, typer.Option(help="A timm ViT name, to start from random weights instead.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 800,
    precision: Annotated[str, typer.Option(help="How the file stores weights: fp32, fp16 or int8.")] = "int8",
    learning_rate: Annotated[float, typer.Option(help="Peak of the cosine schedule.")] = 1.5e-4,
    warmup: Annotated[int, typer.Option(min=0, help="Steps over which the rate rises to its peak.")] = 50,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="The same seed gives the same weights on the same machine.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Distil a frozen teacher's patch and CLS features into a smaller ViT. Run again after an interruption to go on."""
    from pretrain.config import make_config
    from pretrain.distill import distill as run
    from stego_app.progress import terminal_progress

    config = make_config(
        data=tuple(data),
        teacher=teacher,
        out=out,
        teacher_block=teacher_block,
        depth=depth,
        **({"start": start} if start is not None else {}),
        student=student,
        **({"targets": tuple(target)} if target else {}),
        steps=steps,
        precision=precision,
        learning_rate=learning_rate,
        warmup=warmup,
        seed=seed,
        device=device,
    )
    with terminal_progress() as progress:
        written = run(config, progress=progress, say=typer.echo)
    typer.echo(f"wrote {written}")
