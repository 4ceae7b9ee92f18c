"""Texts as YAML and XML can hold them."""

from __future__ import annotations


def yaml_text(text: str) -> str:
    """``text`` as a quoted string of YAML, in ASCII. JSON's would not do: it writes characters beyond 16 bits as two, which YAML keeps as two."""
    return '"' + "".join(char if " " <= char <= "~" and char not in '"\\' else f"\\U{ord(char):08x}" for char in text) + '"'


def xml_text(text: str) -> str:
    """``text`` with U+FFFD for characters that XML 1.0 cannot hold, not even escaped (section 2.2), and for line breaks, which readers change."""
    return "".join(char if " " <= char <= "\ud7ff" or "\ue000" <= char <= "\ufffd" or char > "\uffff" else "\ufffd" for char in text)
