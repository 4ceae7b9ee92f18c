"""What `stego` imports before it does anything, and that its list of commands says what the commands say. No seconds are measured: modules are counted."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from pretrain.commands.group import pretrain_app
from pretrain.commands.method import METHODS_HELP
from pretrain.methods import METHODS
from stego_app.cli import app

HEAVY = {"PIL", "cv2", "fastapi", "gradio", "lightning", "numpy", "pydantic", "rich", "scipy", "sklearn", "timm", "torch"}
RUN = """
import json, sys
sys.argv = ["stego", *sys.argv[1:]]
from stego_app.cli import main
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def imported(*arguments: str, code: int = 0) -> set[str]:
    """The modules that are there when `stego ARGUMENTS` ends with ``code``."""
    done = subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def groups() -> list[tuple[str, Any]]:
    """`stego` and the groups in it whose commands are lazy, as typer makes them."""
    return [("stego", typer.main.get_command(app)), ("stego pretrain", typer.main.get_command(pretrain_app))]


HOMES = [(name, home) for _, group in groups() for name, home in group.homes.items()]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["label", "--help"], ["pretrain", "--help"], ["pretrain", "simclr", "--help"]])
def test_help_imports_nothing_that_is_slow(arguments: list[str]) -> None:
    modules = imported(*arguments)
    assert not modules & HEAVY
    ours = {name for name in modules if name.split(".")[0] in {"api", "ui", "pretrain", "stego_app", "models"}}
    assert len(ours) <= 10, sorted(ours)


def test_an_unknown_pretraining_method_is_told_before_anything_slow_is_imported() -> None:
    assert not imported("pretrain", "simclrr", "photos", "--out", "b.safetensors", code=2) & {"lightning", "lightly", "timm", "torch"}


def test_a_list_of_commands_imports_no_command() -> None:
    commands = {name for name in imported("--help") if ".commands." in name}
    assert commands == {"stego_app.commands.lazy"}


@pytest.mark.parametrize("home", [home for _, home in HOMES], ids=[name for name, _ in HOMES])
def test_a_line_of_the_list_is_the_first_paragraph_of_the_command(home: Any) -> None:
    module, _, attribute = home.place.partition(":")
    found = getattr(import_module(module), attribute)
    text = found.info.help if isinstance(found, typer.Typer) else inspect.getdoc(found)
    assert home.summary == " ".join(text.split("\n\n")[0].split())


@pytest.mark.parametrize(("group", "command"), groups(), ids=[name for name, _ in groups()])
def test_every_command_of_the_list_is_there_when_it_is_called(group: str, command: Any) -> None:
    context = command.make_context(group, ["-"], resilient_parsing=True)
    for name in command.list_commands(context):
        _, found, rest = command.resolve_command(context, [name, "--help"])
        assert rest == ["--help"]
        assert isinstance(found, TyperGroup) or found.callback is not None  # what stands in its place in the list has none


def test_help_of_a_group_and_of_a_command_in_it() -> None:
    listed = CliRunner().invoke(app, ["pretrain", "--help"])
    assert listed.exit_code == 0
    assert "Distil a frozen teacher's patch and CLS features into a smaller" in listed.output
    scans = CliRunner().invoke(app, ["lidar", "label", "--help"])
    assert scans.exit_code == 0
    assert "SemanticKITTI" in scans.output


def every_command() -> list[tuple[str, Any]]:
    """Every command that can be called, groups opened, by what one types for it."""
    found: list[tuple[str, Any]] = []
    waiting: list[tuple[str, Any, Any]] = [("stego", typer.main.get_command(app), None)]
    while waiting:
        path, command, parent = waiting.pop()
        context = command.make_context(path.split()[-1], ["-"], parent=parent, resilient_parsing=True)
        if not isinstance(command, TyperGroup):
            found.append((path, command))
            continue
        for name in command.list_commands(context):
            _, inner, _ = command.resolve_command(context, [name])
            waiting.append((f"{path} {name}", inner, context))
    return sorted(found, key=lambda item: item[0])


@pytest.mark.parametrize(("path", "command"), every_command(), ids=[path for path, _ in every_command()])
def test_every_option_says_what_it_does(path: str, command: Any) -> None:
    for parameter in command.params:
        assert len((parameter.help or "").split()) >= 2 or parameter.name == "help", f"{path}: {parameter.name}"


def test_help_of_pretraining_names_every_method() -> None:
    named = re.findall(r"[a-z][a-z0-9-]+", METHODS_HELP.split(" See ")[0].replace("Of images", "").replace("Of clips", "").replace("Of lidar scans", ""))
    assert sorted(named) == sorted(METHODS)


def test_a_mistyped_command_is_told_and_guessed() -> None:
    result = CliRunner().invoke(app, ["lable", "photos", "out"])
    assert result.exit_code == 2
    assert "No such command 'lable'. Did you mean 'label'?" in result.output


@pytest.mark.parametrize("encoding", ["utf-8:strict", "latin-1:strict"])
def test_names_that_a_terminal_cannot_show_are_said_all_the_same(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a\udcff.png").write_bytes(b"looked at when it is labelled")
    command = [sys.executable, "-m", "stego_app.cli", "label", str(tmp_path), str(tmp_path / "out"), "--dry-run"]
    done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"})
    assert done.returncode == 0, done.stderr
    assert b"a\\udcff.png -> " in done.stdout
