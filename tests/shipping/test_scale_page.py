"""The examples of docs/scale.md are commands that stego takes, and manifests that can be read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from test_deploy_files import takes

from stego_app.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="only in a checkout")


def commands() -> list[list[str]]:
    """The arguments of every `stego …` in a code block, with shell's variables filled in."""
    text = "\n".join(re.findall(r"```(?:sh|yaml)\n(.*?)```", PAGE.read_text(), re.DOTALL))
    text = re.sub(r"\$SLURM_ARRAY_TASK_ID|\$part|\$\(\(JOB_COMPLETION_INDEX \+ 1\)\)", "1", text)
    text = re.sub(r"\$SLURM_CPUS_PER_TASK|\$SLURM_ARRAY_TASK_COUNT", "4", text)
    found = re.findall(r"(?:^|[ \"'/;])stego\)? ((?:label|train|pretrain) [^\n&|\"'#;]*)", text, re.MULTILINE)
    return [shlex.split(line) for line in found]


def test_there_are_examples_of_each_kind() -> None:
    assert len(commands()) >= 10
    assert sum("--shard" in command for command in commands()) >= 4
    assert any("--ray-address" in command for command in commands())


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_stego_takes_the_command(command: list[str]) -> None:
    if command[0] != "pretrain":
        assert takes(command)
        return
    group: Any = typer.main.get_command(app)
    _, pretrain, rest = group.resolve_command(group.make_context("stego", command), command)
    _, method, arguments = pretrain.resolve_command(pretrain.make_context("pretrain", rest), rest)
    assert method.make_context("METHOD", arguments).params["strategy"] == "ddp"


def test_manifests_of_kubernetes_can_be_read() -> None:
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)]
    job, deployment = blocks
    assert job["spec"]["completionMode"] == "Indexed"
    assert f"/{job['spec']['completions']} " in job["spec"]["template"]["spec"]["containers"][0]["command"][2]
    server = deployment["spec"]["template"]["spec"]["containers"][0]
    assert takes(server["args"])["job_workers"] == 0
