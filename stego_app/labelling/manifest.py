"""The list of what was done, one JSON line an image, from which an interrupted run goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stego_app.atomic import output_error, write_text
from stego_app.classes import IGNORED

NAME = "manifest.jsonl"
PARTS = "manifest.*-of-*.jsonl"
"""Those of shards; see `stego_app.shard`."""
NAMES = "manifest*.jsonl"
"""Of either kind."""

_GONE = "gone"
"""The status of an image of which nothing is known any more; its line takes the place of an earlier one."""


@dataclass(frozen=True)
class Entry:
    """What was done for one image.

    Attributes:
        image: its name, relative to the input folder.
        sha256: of the file's bytes; empty where they could not be read.
        model: fingerprint of the segmenter.
        settings: digest of the settings.
        status: "done", "failed", or "clip" for a clip whose frames, each with an entry of its own, are done.
        label: the label map, relative to the output folder; of an image that failed what an earlier run left there, or empty.
        overlay: the overlay, likewise; empty if none was asked for.
        pixels: number of pixels of each label that occurs, 255 for ignored.
        reason: why it failed; empty if it did not.
        confidence: mean confidence of the pixels that have a class, 0 where none has; None where it was not asked for.
        confidence_map: the map of confidence, relative to the output folder; empty if none was asked for.
        frames: of a clip.
        abstained: pixels that were given no class for want of confidence; they are among the ignored in ``pixels``.
    """

    image: str
    sha256: str
    model: str
    settings: str
    status: str
    label: str = ""
    overlay: str = ""
    pixels: dict[str, int] | None = None
    reason: str = ""
    confidence: float | None = None
    confidence_map: str = ""
    abstained: int | None = None
    frames: int | None = None


class Manifest:
    """The latest entry of each image; new ones are appended to the file at once, so that a killed run loses none.

    That the file of an image could not be read holds for the run that met it: when it can be again, what is known of its bytes holds as before.
    Opening drops lines that were superseded, and one that was cut short. Where ``name`` is that of the whole folder, what shards have done goes into it.
    """

    def __init__(self, out: Path, name: str = NAME) -> None:
        self.path = out / name
        own: dict[str, Entry] = {}
        lines = _read(self.path, own)
        self.entries = {**read_entries(out), **own}
        parts = sorted(out.glob(PARTS)) if name == NAME else []
        if parts:
            self.entries = own = read_entries(out)
        if parts or lines != len(own) or (lines and not self.path.read_bytes().endswith(b"\n")):
            write_text(self.path, "".join(_line(entry) for entry in own.values()))
        for part in parts:
            part.unlink(missing_ok=True)
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise output_error(self.path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._file)

    def add(self, entry: Entry) -> None:
        """Record ``entry`` in place of an earlier one of the same image.

        Raises:
            OutputError: the disk is full.
        """
        self._append(_line(entry))
        self.entries[entry.image] = entry

    def forget(self, images: Iterable[str]) -> None:
        """Keep nothing of ``images``; raises as `add`."""
        for image in images:
            self._append(_line(Entry(image, "", "", "", _GONE)))
            self.entries.pop(image, None)

    def _append(self, line: str) -> None:
        data = line.encode()
        try:
            if os.write(self._file, data) < len(data):
                # A full disk may take a part of the line; the next write names the reason.
                os.write(self._file, b"\n")
        except OSError as error:
            raise output_error(self.path, error) from error


class Unwritten:
    """A manifest that is only looked at."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def add(self, entry: Entry) -> None:
        """Nothing is kept."""

    def forget(self, images: Iterable[str]) -> None:
        """Nothing is kept."""


def read_entries(out: Path) -> dict[str, Entry]:
    """The latest entry of each image in an output folder; none where there is no manifest. Nothing is changed."""
    entries: dict[str, Entry] = {}
    for path in (out / NAME, *sorted(out.glob(PARTS))):  # parts are later than the whole folder's, which takes them in when it is opened
        _read(path, entries)
    return entries


_DEFAULTS = {field.name: field.default for field in fields(Entry) if field.default is not MISSING}


def _line(entry: Entry) -> str:
    # Escapes keep file names that are no valid text, and names with line breaks on one line.
    return json.dumps({name: value for name, value in asdict(entry).items() if name not in _DEFAULTS or value != _DEFAULTS[name]}) + "\n"


def _read(path: Path, entries: dict[str, Entry]) -> int:
    """Put the latest entry of each image into ``entries``; how many lines there were."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return 0
    for entry in filter(None, map(_parse, lines)):
        if entry.status == _GONE:
            entries.pop(entry.image, None)
        elif entry.sha256 or entry.status != "failed" or entry.image not in entries:
            entries[entry.image] = entry
    return len(lines)


def _parse(line: bytes) -> Entry | None:
    """The entry of a line; None for one cut short by a kill, or written by something else: its image is labelled again."""
    known = {field.name for field in fields(Entry)}
    try:
        values: Any = json.loads(line)
        # Lines of earlier releases leave out what is empty.
        entry = Entry(**{"sha256": "", "model": "", "settings": "", **{name: value for name, value in values.items() if name in known}})
        strings = (entry.image, entry.sha256, entry.model, entry.settings, entry.status, entry.label, entry.overlay, entry.reason, entry.confidence_map)
        counts = {str(label): int(count) for label, count in (entry.pixels or {}).items()}
    except (ValueError, TypeError, AttributeError):
        return None
    numbers = all(value is None or isinstance(value, (int, float)) for value in (entry.confidence, entry.abstained, entry.frames))
    whole = numbers and all(isinstance(value, str) for value in strings) and all(label.isdecimal() and int(label) <= IGNORED for label in counts)
    return entry if whole and all(map(_is_inside, (entry.image, entry.label, entry.overlay, entry.confidence_map))) else None


def _is_inside(path: str) -> bool:
    """Whether a path, or none, stays in the output folder: what was superseded is removed, and a manifest may come from anywhere."""
    return not path.startswith("/") and ".." not in path.split("/")
