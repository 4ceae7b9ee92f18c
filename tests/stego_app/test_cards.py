"""The cards and NOTICE are in what users get, and can be printed."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stego_app.cli import app

ROOT = Path(__file__).parents[2]


def test_the_cards_and_the_notice_are_printed() -> None:
    result = CliRunner().invoke(app, ["doctor", "--card"])
    assert result.exit_code == 0, result.exception
    for part in ("# The embedded default backbone", "# The embedded general segmenter", "# NOTICE", "ImageNet's terms of access"):
        assert part in result.output


@pytest.mark.skipif(shutil.which("uv") is None or not (ROOT / "pyproject.toml").exists(), reason="builds the wheel with uv, in a checkout")
def test_the_wheel_holds_weights_cards_and_licences(tmp_path: Path) -> None:
    subprocess.run(["uv", "build", "--quiet", "--wheel", "--out-dir", str(tmp_path), str(ROOT)], check=True, timeout=200)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    for stem in ("backbone", "segmenter"):
        assert {f"models/weights/{stem}.safetensors", f"models/weights/{stem}.card.md"} <= names
    assert {Path(name).name for name in names if "dist-info/licenses/" in name} == {"LICENSE", "NOTICE"}
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "docs/"))]
