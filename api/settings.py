"""Settings of the service."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ServiceSettings(BaseModel):
    """Everything the service can be told, with limits that suit one small machine.

    Attributes:
        models: segmenter files, or names of built-in ones; the first is the default. A file is served under its stem.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        device: "auto", "cpu", "cuda" or "mps".
        max_bytes: largest image file accepted, in bytes.
        max_pixels: largest image accepted, in pixels; checked in the image's header, before it is decoded.
        concurrency: images segmented at the same time.
        queue: images that may wait; more are answered 503 with Retry-After.
        timeout: seconds an accepted image may wait and be worked on.
        upload_timeout: seconds a client may take to send a request's body.
        shutdown_grace: seconds that requests under way get to finish when the service is stopped.
        ui: mount the browser page at ``/``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = Field(default=("default",), min_length=1)
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    device: str = "auto"
    max_bytes: int = Field(default=20_000_000, ge=1)
    max_pixels: int = Field(default=40_000_000, ge=1)
    concurrency: int = Field(default=1, ge=1, le=64)
    queue: int = Field(default=16, ge=0, le=10_000)
    timeout: float = Field(default=120.0, gt=0)
    upload_timeout: float = Field(default=60.0, gt=0)
    shutdown_grace: int = Field(default=10, ge=0)
    ui: bool = True
