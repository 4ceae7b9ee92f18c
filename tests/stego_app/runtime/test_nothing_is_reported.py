"""Runtimes that report their use to their makers do not do so under this package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = "import stego_app.runtime.onnx_tokens, onnxruntime"


def left_behind(folder: Path, **more: str) -> list[Path]:
    """What importing ONNX Runtime leaves in a new home: the number by which it knows the machine, and what it has to tell."""
    # Its makers' own switches for tests would make it silent anyway.
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    subprocess.run([sys.executable, "-c", RUN], check=True, env={**environment, "HOME": str(folder), "TMPDIR": str(folder), **more}, timeout=200)
    return [path for path in folder.rglob("*") if path.is_file() and ("onnxruntime" in str(path.relative_to(folder)) or path.name == ".ses")]


def test_onnx_runtime_tells_nobody(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    assert left_behind(tmp_path) == []
