"""Mounts the browser page at ``/`` of the service."""

from __future__ import annotations

from fastapi import FastAPI

from api.catalog import Catalog
from api.settings import ServiceSettings
from api.worker import InferenceWorker
from stego_app.demo_images import example_images
from ui.look import CSS, HEAD, theme
from ui.page import build_demo

import gradio as gr  # isort: skip


def mount_page(app: FastAPI, settings: ServiceSettings, catalog: Catalog, worker: InferenceWorker) -> None:
    """Add the page to ``app``; it shares the worker, so page and REST together stay within the limits."""
    save = catalog.save_new if catalog.keeps_models else None
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
