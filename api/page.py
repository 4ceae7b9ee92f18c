"""Mounts the browser page at ``/`` of the service."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fastapi import FastAPI

from api.catalog import Catalog
from api.model_folder import ModelFolder, NameTakenError
from api.settings import ServiceSettings
from api.worker import InferenceWorker
from stego_app.demo_images import example_images
from ui.contract import SegmenterLike
from ui.look import CSS, HEAD, theme
from ui.page import build_demo
from ui.workshop import Save

import gradio as gr  # isort: skip


def mount_page(app: FastAPI, settings: ServiceSettings, catalog: Catalog, worker: InferenceWorker) -> None:
    """Add the page to ``app``; it shares the worker, so page and REST together stay within the limits."""
    models = settings.jobs.models_folder
    save = None if models is None else saver(catalog, ModelFolder(models))
    demo = build_demo(catalog, max_pixels=settings.max_pixels, run=worker.run_blocking, folder=settings.folder, save=save)
    gr.mount_gradio_app(
        app,
        demo,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        allowed_paths=[str(path) for path in example_images()],
        max_file_size=settings.max_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css=CSS,
        head=HEAD,
    )


def saver(catalog: Catalog, folder: ModelFolder) -> Save:
    """What keeps an edited segmenter in the folder of models, where the catalog and the command line find it."""

    def save(name: str, segmenter: SegmenterLike) -> None:
        if name in catalog.names():
            raise NameTakenError(f"name: there is a model '{name}' already; choose another name")
        with tempfile.TemporaryDirectory() as place:
            written = Path(place) / "segmenter"
            segmenter.save(written)
            folder.add(name, written)

    return save
