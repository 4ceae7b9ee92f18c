"""Every command refuses a seed that some library cannot take, before any work."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from stego_app import LARGEST_SEED
from stego_app.cli import app

COMMANDS = (
    "train x",
    "teach default x",
    "label x y",
    "lidar train x",
    "curate x",
    "probe default x",
    "pretrain simclr x",
    "pretrain distill x --teacher t",
    "pretrain naming x",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_too_large_a_seed_is_refused_by_name(command: str) -> None:
    done = CliRunner().invoke(app, [*command.split(), "--seed", str(LARGEST_SEED + 1)])
    assert done.exit_code == 2
    assert "--seed" in done.output
    assert str(LARGEST_SEED) in done.output
