"""Keeps Gradio at home: no telemetry, no version check, nothing fetched for a client. Imported before Gradio."""

from __future__ import annotations

import os
from types import MethodType
from typing import TYPE_CHECKING, Any

from models.errors import StegoError

if TYPE_CHECKING:
    import gradio as gr

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["GRADIO_SHARE"] = "False"


def forbid_fetching(demo: gr.Blocks) -> None:
    """Make every component of ``demo`` refuse a file given as a URL, which Gradio would download for whoever asks."""
    for block in demo.blocks.values():
        block.async_move_resource_to_block_cache = MethodType(_local_only(type(block).async_move_resource_to_block_cache), block)


def _local_only(move: Any) -> Any:
    async def checked(block: Any, path: Any) -> Any:
        if "://" in str(path):
            raise StegoError("files are taken from uploads only, not from addresses")
        return await move(block, path)

    return checked
