"""Keeps Gradio at home: no telemetry, no version check, nothing fetched or read for a client, no half of an upload kept. Imported before Gradio."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from models.errors import StegoError
from stego_app.turns import taken

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["GRADIO_SHARE"] = "False"

import gradio as gr
from gradio import route_utils

_PREFIX = "stego-page-"
_LOCK = ".lock"
_DEEPEST = 20  # levels of a client's JSON that are looked into; no component nests as deep


class WholeUploads(route_utils.GradioMultiPartParser):  # type: ignore[misc]  # as below
    """Gradio's reader of uploads, less what it leaves on the disk where one is broken off, too large or too slow."""

    async def parse(self) -> Any:
        """The form, its files on the disk."""
        try:
            return await super().parse()
        except BaseException:
            for file in self._files_to_close_on_error:
                file.close()
                Path(file.name).unlink(missing_ok=True)
            raise


route_utils.GradioMultiPartParser = WholeUploads


class LocalBlocks(gr.Blocks):  # type: ignore[misc]  # Gradio is followed as untyped
    """Blocks that take files from uploads only.

    Gradio checks the paths that clients send only once Blocks are launched, which mounted ones never are: any file
    of the machine could be named and would be served. It also downloads addresses that clients send.
    """

    def __init__(self, **options: Any) -> None:
        self.files = private_files()
        super().__init__(analytics_enabled=False, **options)
        self.has_launched = True

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *arguments: Any, **named: Any) -> Any:
        """Refuse inputs that name a file outside the folder of uploads, keep sliders within their bounds, then go on as Gradio does."""
        try:
            check_paths(inputs, self.files)
        except StegoError as error:
            raise gr.Error(str(error), print_exception=False) from error
        state = next(iter(arguments), named.get("state"))
        blocks = [state[block._id] if state is not None and block._id in state else block for block in block_fn.inputs]
        inputs = [*map(within_bounds, blocks, inputs), *inputs[len(blocks) :]]
        return await super().preprocess_data(block_fn, inputs, *arguments, **named)


def within_bounds(block: Any, value: Any) -> Any:
    """``value``, or where ``block`` is a slider, the nearest that it allows, as the slider itself shows once its box of digits is left.

    The box may be empty, or hold any number, while somebody types; Gradio takes that for a failure.
    """
    if not isinstance(block, gr.Slider) or not isinstance(value, int | float | None):
        return value
    known = value if value is not None and math.isfinite(value) else block.minimum
    return min(max(known, block.minimum), block.maximum)


def check_paths(value: Any, folder: Path, depth: int = 0) -> None:
    """Look for file entries (``{"path": …}``) anywhere in a client's JSON.

    Raises:
        StegoError: one lies outside ``folder``, or the JSON nests too deeply to be looked through.
    """
    if depth > _DEEPEST:
        raise StegoError("the request nests too deeply")
    if isinstance(value, dict):
        if value.get("path") is not None:
            uploaded(value, folder)
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            check_paths(item, folder, depth + 1)


def private_files() -> Path:
    """Where Gradio keeps uploads and pictures: a folder of this process alone, removed when it ends; where it is killed, by the next one.

    Gradio's own choice is one folder for every user of the machine. To be called before components are made.
    """
    folder = Path(_folder().name)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    return folder


def uploaded(payload: dict[str, Any], folder: Path) -> Path:
    """The path of an uploaded file.

    Raises:
        StegoError: the path leads out of ``folder``.
    """
    path = Path(str(payload.get("path", ""))).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise StegoError("the photo is not here (any more): choose it once again")
    return path


def remove_orphans(root: Path) -> None:
    """Remove the folders in ``root`` that killed processes of this user have left: visitors' photos lie in them. Who lives holds a lock in its own."""
    for folder in root.glob(f"{_PREFIX}*"):
        lock = folder / _LOCK
        try:
            if folder.is_symlink() or not lock.is_file() or (hasattr(os, "getuid") and folder.stat().st_uid != os.getuid()):
                continue
            held = taken(lock, wait=False)
        except OSError:  # it lives, or is gone in the meantime
            continue
        if held is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)


@lru_cache(maxsize=1)
def _folder() -> tempfile.TemporaryDirectory[str]:
    remove_orphans(Path(tempfile.gettempdir()))
    folder = tempfile.TemporaryDirectory(prefix=_PREFIX)
    taken(Path(folder.name) / _LOCK)  # until this process ends
    return folder
