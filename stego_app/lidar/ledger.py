"""Which scan each label file was made from, so that a scan that has changed since is labelled again."""

from __future__ import annotations

import json
from pathlib import Path

from stego_app.atomic import output_error

NAME = "scans.jsonl"


class ScanLedger:
    """One JSON line a scan, appended once its labels are written: a run that is killed in between labels that scan again.

    Attributes:
        content: name below ``labels/`` to the SHA-256 of the scan's file.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / NAME
        self.content: dict[str, str] = {}
        try:
            lines = self.path.read_bytes().splitlines()
        except OSError:
            return
        for line in lines:
            try:
                name, content = json.loads(line)
                self.content[str(name)] = str(content)
            except (ValueError, TypeError):  # cut short by a kill
                continue

    def add(self, name: str, content: str) -> None:
        """Note that the labels ``name`` are of a scan of this ``content``.

        Raises:
            OutputError: the file cannot be written.
        """
        self.content[name] = content
        try:
            with self.path.open("ab") as file:
                # A line of its own, also after one that was cut short.
                file.write(("" if file.tell() == 0 else "\n").encode() + json.dumps([name, content]).encode())
        except OSError as error:
            raise output_error(self.path, error) from error
