"""Start-up of the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.speed.row import Row, race

TARGET = 0.3


def start(images: Path | None, rounds: int) -> Row:  # noqa: ARG001 - no photos
    """`stego --help` against the time it may take."""
    command = [sys.executable, "-c", "import sys; sys.argv = ['stego', '--help']; from stego_app.cli import main; main()"]
    laps = race({"help": lambda: subprocess.run(command, check=False, capture_output=True, text=True).returncode}, max(3, rounds))
    assert laps["help"].result == 0, "stego --help failed"
    return Row("start", f"`stego --help` / {TARGET} s", laps["help"].wall, TARGET, 1, "", "wall")
