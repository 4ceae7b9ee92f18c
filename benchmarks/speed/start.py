"""Start-up of the command line, and how long the first label takes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.speed.photos import copies
from benchmarks.speed.row import Row, race

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""With bytecode kept, as it is unless somebody asked otherwise: the best turn is then not the first, which compiles two thousand files."""
TARGET = 0.3
FIRST_LABEL = 5.0


def start(images: Path | None, rounds: int) -> Row:  # noqa: ARG001 - no photos
    """`stego --help` against the time it may take."""
    command = [sys.executable, "-c", "import sys; sys.argv = ['stego', '--help']; from stego_app.cli import main; main()"]
    laps = race({"help": lambda: subprocess.run(command, check=False, capture_output=True, text=True, env=ENVIRONMENT).returncode}, max(3, rounds))
    assert laps["help"].result == 0, "stego --help failed"
    return Row("start", f"`stego --help` / {TARGET} s", laps["help"].wall, TARGET, 1, "", "wall")


def first_label(images: Path | None, rounds: int) -> Row:
    """`stego label` of one photo, from the command to the written label map, against the time it may take."""
    command = [sys.executable, "-c", "from stego_app.cli import main; main()", "label"]

    def run() -> int:
        with tempfile.TemporaryDirectory() as folder:
            [photo] = copies(images, 1, Path(folder))
            return subprocess.run([*command, photo, f"{folder}/out"], check=False, capture_output=True, text=True, env=ENVIRONMENT).returncode

    laps = race({"label": run}, max(3, rounds))
    assert laps["label"].result == 0, "stego label failed"
    return Row("first label", f"`stego label` of one photo, CRF included / {FIRST_LABEL:g} s", laps["label"].wall, FIRST_LABEL, 1, "", "wall")
