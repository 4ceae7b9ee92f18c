"""``stego serve``, ``ui``, ``worker``, ``key`` and ``openapi``; what they need is imported when they run, so that `stego --help` stays instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stego_app.commands.runtime_option import RUNTIME

_OTHER_NAMES = {"models": "--model", "cors_origins": "--cors", "fetch_hosts": "--fetch"}
"""Options of `stego serve` that are called otherwise than the settings they fill."""


def serve(
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="A segmenter file, or 'default'. Repeat for several.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every interface.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    runtime: Annotated[str | None, typer.Option(help=RUNTIME)] = None,
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
    from stego_app.settings import checked

    jobs = job_settings(data=data, models=models, redis=redis, workers=job_workers, limits=job_set or [])
    given = {"host": host, "port": port, "device": device, "runtime": runtime, "max_bytes": max_bytes, "max_pixels": max_pixels, "ui": ui, "jobs": jobs}
    given |= {"concurrency": concurrency, "queue": queue, "batch": batch, "crf_workers": crf_workers, "keys": keys, "rate": rate}
    given |= {"cors_origins": tuple(cors or ()), "fetch_hosts": tuple(fetch or ()), "label_studio": label_studio}
    options = {field: f"--{field.replace('_', '-')}" for field in ServiceSettings.model_fields} | _OTHER_NAMES
    run(checked(ServiceSettings, {"models": tuple(model or ["default"]), **given}, "option", options))


def key(
    name: Annotated[str, typer.Argument(help="What the key is called in the log.")],
    scope: Annotated[list[str], typer.Option("--scope", "-s", help="segment, jobs, models, metrics or admin. Repeat for several.")],
) -> None:
    """Make an API key: the secret goes to the terminal, the lines for the file of keys to standard output (>> keys.toml)."""
    from api.security.keys import new_key

    secret, lines = new_key(name, scope)
    typer.echo(f"the key, shown this once: {secret}", err=True)
    typer.echo(lines)


def openapi() -> None:
    """Print the description of the REST service, as docs/openapi.json holds it."""
    from api.description import description

    typer.echo(description(), nl=False)


def worker(
    data: Annotated[Path | None, typer.Option(help="The server's folder of jobs; the user's data folder if not given.")] = None,
    models: Annotated[Path | None, typer.Option(help="The server's folder of segmenter files; DATA/models if not given.")] = None,
    redis: Annotated[str | None, typer.Option(envvar="STEGO_REDIS", help="The server's Redis; a file in DATA if not given.")] = None,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, max=64, help="Jobs at the same time.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    runtime: Annotated[str | None, typer.Option(help=RUNTIME)] = None,
    max_pixels: Annotated[int, typer.Option(min=1, help="Largest image, in pixels.")] = 40_000_000,
    job_set: Annotated[list[str] | None, typer.Option(help="name=value for a limit of jobs, as given to the server. Repeatable.")] = None,
) -> None:
    """Work on the jobs of a server that has the same data folder, beside its own worker or in place of it."""
    from api.jobs.settings import WorkerSettings, job_settings
    from api.jobs.worker import work_in_foreground

    jobs = job_settings(data=data, models=models, redis=redis, workers=workers, limits=job_set or [])
    work_in_foreground(WorkerSettings(jobs=jobs, device=device, runtime=runtime, max_pixels=max_pixels))


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
