"""Names of files need not be text; what is written of them is."""

from __future__ import annotations


def text_name(name: str) -> str:
    """``name`` as text that every reader takes: bytes of a file name that are no UTF-8 become U+FFFD."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
