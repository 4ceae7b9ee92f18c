"""Settings of the service."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from api.jobs.settings import JobSettings


class ServiceSettings(BaseModel):
    """Everything the service can be told, with limits that suit one small machine.

    Attributes:
        models: segmenter files, or names of built-in ones; the first is the default. A file is served under its stem.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        device: "auto", "cpu", "cuda" or "mps".
        runtime: of the backbone, see `stego_app.Segmenter.load`.
        max_bytes: largest image file accepted, in bytes.
        max_pixels: largest image accepted, in pixels; checked in the image's header, before it is decoded.
        concurrency: images being worked on at the same time; together they hold at most ``max_pixels``.
        queue: images that may wait; more are answered 503 with Retry-After.
        batch: images that go through the backbone together; 1 switches batching off.
        batch_window: seconds that an image waits for company.
        crf_workers: processes for the CRF; one a core if None, 0 to run it in the service's own process.
        timeout: seconds an accepted image may wait and be worked on.
        upload_timeout: seconds a client may take to send a request's body.
        shutdown_grace: seconds that images being worked on get when the service is stopped; what waits is answered 503 at once.
        ui: mount the browser page at ``/``.
        folder: a folder of images on this machine that visitors of the page may have segmented, and see; none unless given.
        keys: file of API keys (see `api.security.keys`); with it, or with the environment's STEGO_API_KEYS, every request needs one.
        rate: requests a minute that one key, or one address without a key, may make; no limit if None.
        cors_origins: origins whose pages may call the service from a browser, as "https://example.org"; none unless given.
        fetch_hosts: hosts from which images may be fetched by URL, as "example.org", "*.example.org" or "example.org:8443"; none unless given.
        fetch_timeout: seconds that fetching an image may take.
        label_studio: address of the Label Studio whose images may be fetched, private or not, as "http://localhost:8080".
        jobs: data folder, models folder, queue and limits of jobs (see `api.jobs.settings`); without a data folder no jobs are taken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = Field(default=("default",), min_length=1)
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    device: str = "auto"
    runtime: str | None = None
    max_bytes: int = Field(default=20_000_000, ge=1)
    max_pixels: int = Field(default=40_000_000, ge=1)
    concurrency: int = Field(default=8, ge=1, le=64)
    queue: int = Field(default=16, ge=0, le=10_000)
    batch: int = Field(default=8, ge=1, le=64)
    batch_window: float = Field(default=0.005, ge=0, le=1)
    crf_workers: int | None = Field(default=None, ge=0, le=256)
    timeout: float = Field(default=120.0, gt=0)
    upload_timeout: float = Field(default=60.0, gt=0)
    shutdown_grace: int = Field(default=15, ge=0)
    ui: bool = True
    folder: Path | None = None
    keys: Path | None = None
    rate: float | None = Field(default=None, gt=0)
    cors_origins: tuple[str, ...] = ()
    fetch_hosts: tuple[str, ...] = ()
    fetch_timeout: float = Field(default=10.0, gt=0)
    label_studio: str | None = None
    jobs: JobSettings = JobSettings()
