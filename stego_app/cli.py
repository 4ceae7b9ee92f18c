"""The command ``stego``: every room is put together here, and nowhere else."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

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


class _Methods(TyperGroup):
    """Takes `stego pretrain METHOD ...` for any name that is not a command of its own: the names lie in a room too slow to import here."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of ``args``: its own, or METHOD with the name as its first argument."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            args = ["METHOD", *args]
        return super().resolve_command(ctx, args)


pretrain_app = typer.Typer(cls=_Methods, help="Train a backbone without labels.", no_args_is_help=True)


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
        list[str] | None, typer.Option(help="Average the teacher over these: plain, mirror, enlarged (repeat the option); plain and mirror if not given.")
    ] = None,
    student: Annotated[str | None, typer.Option(help="A timm ViT name, to start from random weights instead.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 800,
    precision: Annotated[str, typer.Option(help="How the file stores weights: fp32, fp16 or int8.")] = "int8",
    learning_rate: Annotated[float, typer.Option(help="Peak of the cosine schedule.")] = 1.5e-4,
    warmup: Annotated[int, typer.Option(min=0, help="Steps over which the rate rises to its peak.")] = 50,
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
        warmup=warmup,
        seed=seed,
        device=device,
    )
    with terminal_progress() as progress:
        written = run(config, progress=progress, say=typer.echo)
    typer.echo(f"wrote {written}")


@app.command()
def curate(
    pool: Annotated[list[str], typer.Argument(help="Folders, images or @lists to choose from.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The list of paths to write; a report and a table of what was left out lie beside it.")],
    like: Annotated[list[str] | None, typer.Option(help="A curated set (folder or @list) whose like is wanted; repeat for several.")] = None,
    not_like: Annotated[list[str] | None, typer.Option(help="An evaluation set: nothing that resembles its images is taken; repeat for several.")] = None,
    method: Annotated[str, typer.Option(help="auto, nearest, clusters, balanced or all.")] = "auto",
    nearest: Annotated[int, typer.Option("--nearest", "-n", min=1, help="Images for each curated image.")] = 4,
    per_cluster: Annotated[int, typer.Option(min=1, help="Images of each cluster that holds a curated image, where the curated set is small.")] = 100,
    clusters: Annotated[int | None, typer.Option(min=1, help="k-means clusters of the pool; the square root of its size if not given.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="At most so many images; without --like they are spread evenly over the pool.")] = None,
    keep_duplicates: Annotated[bool, typer.Option("--keep-duplicates", help="Leave near-duplicates within the pool in.")] = False,
    with_like: Annotated[bool, typer.Option("--with-like", help="Begin the list with the curated images.")] = False,
    similarity: Annotated[float | None, typer.Option(help="From which two images are near-duplicates, 0 to 1; learnt from the pool if not given.")] = None,
    backbone: Annotated[str, typer.Option("--backbone", "-b", help="'default', a file, or any timm ViT name.")] = "default",
    resolution: Annotated[int, typer.Option(help="Side in pixels at which images are looked at.")] = 224,
    cache: Annotated[Path | None, typer.Option(help="Folder for descriptors; the user's cache folder if not given.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same list.")] = 0,
) -> None:
    """Choose images worth training on: no near-duplicates, none of your test images, like a curated set or evenly spread. Run again to go on."""
    from pretrain.curate import curate as run
    from pretrain.curate import make_settings
    from stego_app.progress import terminal_progress

    settings = make_settings(
        pool=tuple(pool),
        out=out,
        like=tuple(like or ()),
        not_like=tuple(not_like or ()),
        method=method,
        nearest=nearest,
        per_cluster=per_cluster,
        clusters=clusters,
        images=images,
        keep_duplicates=keep_duplicates,
        with_like=with_like,
        similarity=similarity,
        backbone=backbone,
        resolution=resolution,
        cache=cache,
        device=device,
        seed=seed,
    )
    with terminal_progress() as progress:
        outcome = run(settings, progress, typer.echo)
    typer.echo(str(outcome))
    if outcome.failures:
        typer.echo(f"could not read {outcome.failures[0][0]}: {outcome.failures[0][1]}" + (" (and others)" if len(outcome.failures) > 1 else ""), err=True)
        raise typer.Exit(1)


@pretrain_app.command(name="METHOD")
def pretrain_method(
    method: Annotated[str, typer.Argument(help="simclr, byol, dinov2, mae, ...; an unknown name lists them all.")],
    data: Annotated[list[Path], typer.Argument(help="Folders of images, or tar files of images; labels are never used for training.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The backbone file to write.")],
    init: Annotated[str | None, typer.Option(help="Go on from this backbone: 'default', a file, a .pth, or any timm ViT name.")] = None,
    architecture: Annotated[str, typer.Option(help="A timm ViT name, for a random start.")] = "vit_small_patch16_224",
    image_size: Annotated[int, typer.Option(min=8, help="Side of the crops in pixels.")] = 224,
    patch_size: Annotated[int | None, typer.Option(min=1, help="Side of a patch, for a random start.")] = None,
    depth: Annotated[int | None, typer.Option(min=1, help="Number of blocks, for a random start.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the images, if no steps are given; 100 if neither is.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images a step, over all devices.")] = 256,
    accumulate: Annotated[int, typer.Option(min=1, help="Micro-batches a step.")] = 1,
    checkpointing: Annotated[bool, typer.Option(help="Recompute activations in the backward pass, to save memory.")] = False,
    learning_rate: Annotated[float | None, typer.Option(help="Peak for a batch of 256, scaled to the batch; the method's own if not given.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="The method's own if not given.")] = None,
    layer_decay: Annotated[float, typer.Option(help="Rate of a block over that of the next one.")] = 1.0,
    drop_path: Annotated[float, typer.Option(help="Stochastic depth of the last block.")] = 0.0,
    ema: Annotated[float, typer.Option(help="Keep an average of the weights with this momentum; for methods without a teacher.")] = 0.0,
    pair: Annotated[Path | None, typer.Option(help="A second modality with the same file names, such as depth; vicreg only.")] = None,
    option: Annotated[list[str] | None, typer.Option("--set", help="An option of the method, NAME=VALUE; repeat it.")] = None,
    health_every: Annotated[int | None, typer.Option(min=1, help="Steps between two checks; a twentieth of the run if not given.")] = None,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between two checkpoints.")] = 200,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that prepare views; none on a CPU and 8 beside a GPU if not given.")] = None,
    accelerator: Annotated[str, typer.Option(help="Lightning's: auto, cpu, gpu.")] = "auto",
    devices: Annotated[str, typer.Option(help="Lightning's: a number, a list of them, or auto.")] = "1",
    num_nodes: Annotated[int, typer.Option(min=1, help="Lightning's.")] = 1,
    strategy: Annotated[str, typer.Option(help="Lightning's: auto, ddp.")] = "auto",
    precision: Annotated[str, typer.Option(help="Lightning's: bf16-mixed, 32-true.")] = "bf16-mixed",
    file_precision: Annotated[str, typer.Option(help="How the file stores weights: fp32, fp16 or int8.")] = "fp16",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same weights on the same machine.")] = 0,
) -> None:
    """Pretrain with METHOD (simclr, byol, mae, dino, ...). Run again after an interruption to go on."""
    from pretrain.run import pretrain as run
    from pretrain.settings import make_pretrain_config, parse_options
    from stego_app.progress import terminal_progress

    config = make_pretrain_config(
        method=method,
        data=tuple(data),
        out=out,
        init=init,
        architecture=architecture,
        image_size=image_size,
        patch_size=patch_size,
        depth=depth,
        steps=steps,
        epochs=epochs,
        batch=batch,
        accumulate=accumulate,
        checkpointing=checkpointing,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        layer_decay=layer_decay,
        drop_path=drop_path,
        ema=ema,
        pair=pair,
        options=parse_options(option or []),
        health_every=health_every,
        checkpoint_every=checkpoint_every,
        workers=workers,
        accelerator=accelerator,
        devices=devices,
        num_nodes=num_nodes,
        strategy=strategy,
        precision=precision,
        file_precision=file_precision,
        seed=seed,
    )
    with terminal_progress() as progress:
        run(config, progress=progress, say=typer.echo)
    typer.echo(f"wrote {out}")


@app.command()
def probe(
    backbone: Annotated[str, typer.Argument(help="'default', a backbone file, a .pth, any timm ViT name, or 'random:' and one.")],
    data: Annotated[Path, typer.Argument(help="Images in class folders (or train.tar and test.tar of such), or a data set with label maps.")],
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
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn at random.")] = 0,
) -> None:
    """Score a frozen backbone: k-NN and linear probe on classes, or on label maps linear probe and k-means of patches; and draw what it sees."""
    from pretrain.probe import make_settings
    from pretrain.probe import probe as run
    from stego_app.progress import terminal_progress

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
    if report.failures:
        typer.echo(f"could not read {report.failures[0][0]}: {report.failures[0][1]}" + (" (and others)" if len(report.failures) > 1 else ""), err=True)
        raise typer.Exit(1)


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
    job_set: Annotated[list[str] | None, typer.Option(help="name=value for a limit of jobs, e.g. keep_days=3; see docs/jobs.md. Repeatable.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Images being worked on at the same time.")] = 8,
    queue: Annotated[int, typer.Option(min=0, help="Images that may wait; more are answered 503.")] = 16,
    batch: Annotated[int, typer.Option(min=1, max=64, help="Images that go through the backbone together; 1 for no batches.")] = 8,
    crf_workers: Annotated[int | None, typer.Option(min=0, help="Processes for the CRF; one a core if not given, 0 for none.")] = None,
    keys: Annotated[Path | None, typer.Option(help="File of API keys (see `stego key`); with it every request needs one.")] = None,
    rate: Annotated[float | None, typer.Option(help="Requests a minute for each key, or each address without one; no limit if not given.")] = None,
    cors: Annotated[list[str] | None, typer.Option(help="Origin whose pages may call the service, as https://example.org. Repeat for several.")] = None,
    fetch: Annotated[list[str] | None, typer.Option(help="Host from which images may be fetched by URL, as example.org. Repeat for several.")] = None,
    label_studio: Annotated[str | None, typer.Option(help="Address of the Label Studio whose images may be fetched, as http://localhost:8080.")] = None,
) -> None:
    """Serve REST at /v1 and the browser page at /."""
    from api import ServiceSettings
    from api import serve as run
    from api.jobs.settings import job_settings

    jobs = job_settings(data=data, models=models, redis=redis, workers=job_workers, limits=job_set or [])
    given = {"host": host, "port": port, "device": device, "max_bytes": max_bytes, "max_pixels": max_pixels, "ui": ui, "jobs": jobs}
    given |= {"concurrency": concurrency, "queue": queue, "batch": batch, "crf_workers": crf_workers, "keys": keys, "rate": rate}
    given |= {"cors_origins": tuple(cors or ()), "fetch_hosts": tuple(fetch or ()), "label_studio": label_studio}
    run(ServiceSettings.model_validate({"models": tuple(model or ["default"]), **given}))


@app.command()
def key(
    name: Annotated[str, typer.Argument(help="What the key is called in the log.")],
    scope: Annotated[list[str], typer.Option("--scope", "-s", help="segment, jobs, models, metrics or admin. Repeat for several.")],
) -> None:
    """Make an API key: the secret goes to the terminal, the lines for the file of keys to standard output (>> keys.toml)."""
    from api.security.keys import new_key

    secret, lines = new_key(name, scope)
    typer.echo(f"the key, shown this once: {secret}", err=True)
    typer.echo(lines)


@app.command()
def openapi() -> None:
    """Print the description of the REST service, as docs/openapi.json holds it."""
    from api.description import description

    typer.echo(description(), nl=False)


@app.command()
def worker(
    data: Annotated[Path | None, typer.Option(help="The server's folder of jobs; the user's data folder if not given.")] = None,
    models: Annotated[Path | None, typer.Option(help="The server's folder of segmenter files; DATA/models if not given.")] = None,
    redis: Annotated[str | None, typer.Option(envvar="STEGO_REDIS", help="The server's Redis; a file in DATA if not given.")] = None,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, max=64, help="Jobs at the same time.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    max_pixels: Annotated[int, typer.Option(min=1, help="Largest image, in pixels.")] = 40_000_000,
    job_set: Annotated[list[str] | None, typer.Option(help="name=value for a limit of jobs, as given to the server. Repeatable.")] = None,
) -> None:
    """Work on the jobs of a server that has the same data folder, beside its own worker or in place of it."""
    from api.jobs.settings import WorkerSettings, job_settings
    from api.jobs.worker import work_in_foreground

    jobs = job_settings(data=data, models=models, redis=redis, workers=workers, limits=job_set or [])
    work_in_foreground(WorkerSettings(jobs=jobs, device=device, max_pixels=max_pixels))


@app.command()
def ui(
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="A segmenter file, or 'default'. Repeat for several.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 7860,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    folder: Annotated[Path | None, typer.Option(help="A folder of images that the page offers to segment, and shows.")] = None,
    models: Annotated[Path | None, typer.Option(help="Folder where edited segmenters are saved; that of `stego serve` if not given.")] = None,
) -> None:
    """Open the browser page, on this machine only."""
    from api import ServiceSettings
    from api import serve as run
    from api.jobs.settings import JobSettings, default_data_folder
    from stego_app.images import find_images

    if folder is not None:
        find_images(folder)  # a wrong folder is told now, not when somebody clicks
    jobs = JobSettings(data=default_data_folder(), models=models)
    run(ServiceSettings(models=tuple(model or ["default"]), port=port, device=device, folder=folder, jobs=jobs))


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
