"""Every code that an error can have is in the tables of the documentation."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / name for name in ("rest.md", "jobs.md", "annotation-tools.md")]


def codes() -> set[tuple[int, str]]:
    """(status, code) of the errors raised anywhere in the service: `SomeError(422, "code", …)`, and tuples of the same beginning."""
    found = set()
    for path in (ROOT / "api").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts = node.args if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error") else node.elts if isinstance(node, ast.Tuple) else []
            match parts:
                case [ast.Constant(value=int(status)), ast.Constant(value=str(code)), *_] if status >= 400:
                    found.add((status, code))
    return found


@pytest.mark.skipif(not PAGES[0].exists(), reason="only in a checkout")
def test_every_code_is_in_a_table() -> None:
    rows = [line for page in PAGES for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert len(codes()) > 30
    missing = [(status, code) for status, code in sorted(codes()) if not any(f"`{code}`" in row for row in rows)]
    assert missing == []
