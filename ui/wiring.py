"""How events of the page reach handlers: problems become notices, nothing is open to API clients, downloads are fetched."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import ui.offline  # noqa: F401 - before Gradio
from models.errors import StegoError

import gradio as gr  # isort: skip

log = logging.getLogger("stego.page")

Updates = dict[Any, Any]
"""New values or properties, by component."""

LATEST: dict[str, Any] = {"trigger_mode": "always_last"}
"""A control that moves while its last value is worked on is heard once more at the end."""

# A click on a download button has the file written first, so the browser is sent for it afterwards.
_FETCH = """(file) => {
    if (file) {
        const link = document.createElement("a");
        link.href = file.url;
        link.download = file.orig_name;
        link.click();
    }
    return [];
}"""
_AT_ONCE = 4  # calls of one handler under way, over all visitors


def browser_tab(request: gr.Request) -> str:
    """What tells one browser tab from another."""
    return str(request.session_hash)


def say(error: StegoError) -> None:
    """Show the one line of a user's own problem; notices are HTML, names of files and classes are not."""
    gr.Warning(html.escape(str(error)))


def guarded(action: Callable[..., Updates], nothing: Updates) -> Callable[..., Updates]:
    """``action`` with problems turned into a notice: a user's own in plain words, others as one that the log explains."""

    @wraps(action)
    def perform(*arguments: Any, **named: Any) -> Updates:
        try:
            return action(*arguments, **named)
        except StegoError as error:
            say(error)
            return nothing
        except Exception as error:
            raise _unexpected() from error

    return perform


def guarded_steps(action: Callable[..., Iterator[Updates]], nothing: Updates) -> Callable[..., Iterator[Updates]]:
    """`guarded` for handlers that show results step by step."""

    @wraps(action)
    def perform(*arguments: Any, **named: Any) -> Iterator[Updates]:
        try:
            yield from action(*arguments, **named)
        except StegoError as error:
            say(error)
            yield nothing
        except Exception as error:
            raise _unexpected() from error

    return perform


def _unexpected() -> Exception:
    log.exception("the page failed")
    error: Exception = gr.Error("Something went wrong on the server; its log has the reason.", print_exception=False)
    return error


def on(event: Callable[..., Any], action: Callable[..., Updates], inputs: list[Any], outputs: list[Any], nothing: Updates, **options: Any) -> Any:
    """Have ``action`` handle ``event``; it returns updates for some of ``outputs``, and ``nothing`` where it could not be done."""
    return event(guarded(action, nothing), inputs, outputs, **{"api_visibility": "private", "concurrency_limit": _AT_ONCE, **options})


def on_steps(
    event: Callable[..., Any], action: Callable[..., Iterator[Updates]], inputs: list[Any], outputs: list[Any], nothing: Updates, **options: Any
) -> Any:
    """`on` for handlers that show results step by step."""
    return event(guarded_steps(action, nothing), inputs, outputs, **{"api_visibility": "private", "concurrency_limit": _AT_ONCE, **options})


def on_download(button: Any, action: Callable[..., Updates], inputs: list[Any], file: Any) -> None:
    """Have ``action`` write what ``button`` asks for and give its path to ``file``, then send the browser for it."""
    written = on(button.click, action, inputs, [file], {file: None})
    written.success(None, [file], js=_FETCH, api_visibility="private")
