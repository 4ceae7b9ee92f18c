"""Dockerfile, compose and .dockerignore fit what is in the project: every command is one that stego takes, every file is there."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from stego_app.cli import app

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "Dockerfile").exists(), reason="only in a checkout")


def dockerfile() -> str:
    """The Dockerfile without comments, one instruction a line."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    return re.sub(r"\\\n\s*", " ", "\n".join(lines))


def takes(arguments: list[str]) -> dict[str, Any]:
    """What stego understands by ``arguments``; fails for an option or command that it does not have."""
    command: Any = typer.main.get_command(app)
    group = command.make_context("stego", arguments, resilient_parsing=False)
    _, chosen, rest = command.resolve_command(group, [*group._protected_args, *group.args])
    return dict(chosen.make_context(arguments[0], rest).params)


def test_the_image_starts_a_server_that_others_can_reach() -> None:
    text = dockerfile()
    assert json.loads(re.search(r"^ENTRYPOINT (.*)$", text, re.M)[1]) == ["stego"]  # type: ignore[index]
    given = takes(json.loads(re.search(r"^CMD (.*)$", text, re.M)[1]))  # type: ignore[index]
    assert (given["host"], given["port"]) == ("0.0.0.0", 8000)
    assert "http://127.0.0.1:8000/health" in re.search(r"^HEALTHCHECK .*$", text, re.M)[0]  # type: ignore[index]


def test_the_image_does_not_run_as_root() -> None:
    stages = dockerfile().split("\nFROM ")
    assert re.search(r"^USER stego$", stages[-1], re.M)
    assert "useradd --create-home --uid 10001" in stages[-1]


def test_what_the_wheel_is_built_from_reaches_the_build() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for needed in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "api", "ui", "pretrain", "stego_app", "models"):
        assert any(fnmatch(needed, pattern) for pattern in kept), needed
        assert (ROOT / needed).exists()
    for never in (".git", ".venv", "tests", "keys.toml", "runs"):
        assert not any(fnmatch(never, pattern) for pattern in kept), never


def test_compose_names_commands_that_exist_and_one_queue() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert set(services) == {"server", "worker", "redis"}
    server, worker = takes(services["server"]["command"]), takes(services["worker"]["command"])
    assert server["job_workers"] == 0  # the worker's business
    assert server["keys"] == Path("/run/stego/keys.toml")
    assert worker["workers"] == 1
    for name in ("server", "worker"):
        assert services[name]["environment"]["STEGO_REDIS"].startswith("redis://redis:")
        assert services[name]["volumes"][0] == "data:/data"
        assert services[name]["stop_grace_period"] == "40s"
    assert services["server"]["ports"] == ["127.0.0.1:8000:8000"]  # not to the network unless somebody says so
