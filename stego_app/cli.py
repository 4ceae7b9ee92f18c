"""The command ``stego``: every room is put together here, and nowhere else."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from models.errors import StegoError
from stego_app.commands.classes import classes
from stego_app.commands.convert import convert
from stego_app.commands.demo import demo
from stego_app.commands.doctor import doctor
from stego_app.commands.evaluate import evaluate
from stego_app.commands.label import label
from stego_app.commands.train import train

app = typer.Typer(
    name="stego",
    help="Segment images without labels: a folder of images in, data-set-consistent pixel classes out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
pretrain_app = typer.Typer(help="Train a backbone without labels.", no_args_is_help=True)


@pretrain_app.callback()
def pretrain_root() -> None:
    """Train a backbone without labels."""


app.add_typer(pretrain_app, name="pretrain")
app.command()(demo)
app.command()(label)
app.command()(convert)
app.command()(train)
app.command(name="eval")(evaluate)
app.command()(classes)
app.command()(doctor)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    """Options of ``stego`` itself."""
    if version:
        from stego_app import __version__

        typer.echo(f"stego {__version__}")
        raise typer.Exit


@pretrain_app.command()
def distill(
    data: Annotated[list[Path], typer.Argument(help="Folders of images; labels are never used.")],
    teacher: Annotated[str, typer.Option("--teacher", "-t", help="A backbone file, a .pth, or any timm ViT name.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The backbone file to write.")],
    teacher_block: Annotated[int | None, typer.Option(min=0, help="Block whose tokens are the target; the teacher's own choice if not given.")] = None,
    depth: Annotated[int, typer.Option(min=1, help="Blocks of the student.")] = 8,
    start: Annotated[str, typer.Option(help="Teacher's blocks to start from: first, last or even.")] = "first",
    target: Annotated[
        list[str] | None, typer.Option(help="Average the teacher over these: plain, mirror, enlarged (repeat the option); all three if not given.")
    ] = None,
    student: Annotated[str | None, typer.Option(help="A timm ViT name, to start from random weights instead.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 800,
    precision: Annotated[str, typer.Option(help="How the file stores weights: fp32, fp16 or int8.")] = "int8",
    learning_rate: Annotated[float, typer.Option(help="Peak of the cosine schedule.")] = 1.5e-4,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same weights on the same machine.")] = 0,
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
        start=start,
        student=student,
        **({"targets": tuple(target)} if target else {}),
        steps=steps,
        precision=precision,
        learning_rate=learning_rate,
        seed=seed,
        device=device,
    )
    with terminal_progress() as progress:
        written = run(config, progress=progress, say=typer.echo)
    typer.echo(f"wrote {written}")


@app.command()
def serve(
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="A segmenter file, or 'default'. Repeat for several.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every interface.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    max_bytes: Annotated[int, typer.Option(min=1, help="Largest request body, in bytes.")] = 20_000_000,
    max_pixels: Annotated[int, typer.Option(min=1, help="Largest image, in pixels.")] = 40_000_000,
    ui: Annotated[bool, typer.Option(help="Mount the browser page at /.")] = True,
    data: Annotated[Path | None, typer.Option(help="Folder of jobs and their results; the user's data folder if not given.")] = None,
    models: Annotated[Path | None, typer.Option(help="Folder of segmenter files to list, edit and add to; DATA/models if not given.")] = None,
    redis: Annotated[str | None, typer.Option(envvar="STEGO_REDIS", help="URL of a Redis for the queue of jobs; a file in DATA if not given.")] = None,
    job_workers: Annotated[int, typer.Option(min=0, max=64, help="Jobs at the same time; 0 leaves them to `stego worker`.")] = 1,
) -> None:
    """Serve REST at /v1 and the browser page at /."""
    from api import ServiceSettings
    from api import serve as run
    from api.jobs.settings import JobSettings, default_data_folder

    jobs = JobSettings(data=data or default_data_folder(), models=models, redis=redis, workers=job_workers)
    given = {"host": host, "port": port, "device": device, "max_bytes": max_bytes, "max_pixels": max_pixels, "ui": ui, "jobs": jobs}
    run(ServiceSettings.model_validate({"models": tuple(model or ["default"]), **given}))


@app.command()
def worker(
    data: Annotated[Path | None, typer.Option(help="The server's folder of jobs; the user's data folder if not given.")] = None,
    models: Annotated[Path | None, typer.Option(help="The server's folder of segmenter files; DATA/models if not given.")] = None,
    redis: Annotated[str | None, typer.Option(envvar="STEGO_REDIS", help="The server's Redis; a file in DATA if not given.")] = None,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, max=64, help="Jobs at the same time.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    max_pixels: Annotated[int, typer.Option(min=1, help="Largest image, in pixels.")] = 40_000_000,
) -> None:
    """Work on the jobs of a server that has the same data folder, beside its own worker or in place of it."""
    from api.jobs.settings import JobSettings, WorkerSettings, default_data_folder
    from api.jobs.worker import work_in_foreground

    folder = (data or default_data_folder()).absolute()
    jobs = JobSettings(data=folder, models=models and models.absolute(), redis=redis, workers=workers)
    work_in_foreground(WorkerSettings(jobs=jobs, device=device, max_pixels=max_pixels))


@app.command()
def ui(
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="A segmenter file, or 'default'. Repeat for several.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 7860,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Open the browser page alone, on this machine only."""
    serve(model=model, port=port, device=device, host="127.0.0.1", max_bytes=20_000_000, max_pixels=40_000_000, ui=True)


def main() -> None:
    """Run the command line; a user sees one line for each problem, never a traceback."""
    # Hubs may be asked for weights by name; nothing else of theirs is wanted in a terminal.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        app(standalone_mode=True)
    except StegoError as error:
        _leave(f"stego: {error}", error.exit_code)
    except KeyboardInterrupt:
        _leave("stego: interrupted; run the same command again to go on from here", 130)
    except BrokenPipeError:
        os._exit(141)  # the reader left: nothing more can be said to it
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            _leave(f"stego: {error.filename or 'disk'}: no space left on the disk; free some and run the same command again", 2)
        if error.filename is None:
            raise  # not about a file: a defect of ours, to be seen whole
        _leave(f"stego: {error.filename}: {error.strerror}", 2)


def _leave(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
