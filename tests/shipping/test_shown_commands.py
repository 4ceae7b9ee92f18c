"""Every `stego …` in the documentation's blocks of shell is a command that stego takes, with options and values that it has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from stego_app.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if page.name != "scale.md"]  # that page has a test of its own
pytestmark = pytest.mark.skipif(not (ROOT / "docs").exists(), reason="only in a checkout")


def shown(text: str) -> list[str]:
    """The command lines of a page that begin with ``stego``, without what the shell takes for itself."""
    blocks = "\n".join(re.findall(r"^```(?:sh|bash)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)).replace("\\\n", " ")
    lines = re.findall(r"^(?:uv run (?:--extra \w+ )*)?(?:\S+/bin/)?(stego .*)$", blocks, re.MULTILINE)
    return [re.split(r"\s[|&<>]|;", re.split(r"\s#", line)[0])[0].strip() for line in lines]


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What stego understands by ``arguments``; fails for a command, an option or a value that it does not have."""
    command: Any = typer.main.get_command(app)
    made = command.make_context("stego", arguments)
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(made, [*made._protected_args, *made.args])
        made = command.make_context(name, rest, parent=made)
    return dict(made.params)


EXAMPLES = [(page.name, line) for page in PAGES if page.exists() for line in shown(page.read_text(encoding="utf-8"))]


def test_examples_are_found_on_the_pages_that_have_them() -> None:
    assert len(EXAMPLES) > 60
    assert {"README.md", "naming.md", "lidar.md", "runtimes.md", "video.md", "curate.md"} <= {page for page, _ in EXAMPLES}


@pytest.mark.parametrize("line", [line for _, line in EXAMPLES], ids=[f"{page}: {line}" for page, line in EXAMPLES])
def test_stego_takes_what_the_page_shows(line: str) -> None:
    parsed(shlex.split(line)[1:])
