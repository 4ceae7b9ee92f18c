"""The default recipe in the bench: its fingerprint, so that cells of an older recipe are never taken for today's."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

import models.head
import stego_app.clusters
import stego_app.discovery
import stego_app.features.exposure


def recipe_fingerprint() -> str:
    """Eight hex digits of the code that decides the default's classes, without its comments and docstrings."""
    discovery = Path(stego_app.discovery.__file__).parent
    files = [*sorted(discovery.rglob("*.py")), *(Path(str(module.__file__)) for module in (stego_app.clusters, models.head, stego_app.features.exposure))]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\n{code_only(file.read_text(encoding='utf-8'))}\n".encode())
    return digest.hexdigest()[:8]


def code_only(source: str) -> str:
    """A text of the syntax tree of ``source`` that neither layout, comments nor docstrings change."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            # Docstrings of attributes: bare strings in a body.
            node.body = [part for part in node.body if not _bare_string(part)]
    return ast.dump(tree)


def _bare_string(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
