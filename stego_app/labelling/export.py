"""The label maps of an output folder in the formats of other tools, all in one pass."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from stego_app.atomic import write_text
from stego_app.crf import CrfPool
from stego_app.formats.label_map import Classes, LabelMap
from stego_app.formats.registry import Format, find_format
from stego_app.labelling import hub
from stego_app.labelling.manifest import Entry
from stego_app.progress import Progress

STATE = "formats.json"
"""What each format in an output folder was made from."""

VERSION = 2
"""Raised when a format would come out otherwise than before."""

_FEW = 4  # for this many images, starting processes would take longer than the work


def check_formats(names: Sequence[str]) -> list[Format]:
    """The formats called ``names``, but not index PNG, which is always written.

    Raises:
        StegoError: an unknown name, or something that a format needs is not installed.
    """
    asked = [find_format(name) for name in dict.fromkeys(names) if name != hub.FORMAT.name]
    for entry in asked:
        entry.check()
    return asked


def export(
    out: Path,
    maps: Sequence[tuple[Entry, LabelMap]],
    classes: Classes,
    asked: Sequence[Format],
    *,
    jobs: int | None,
    progress: Progress,
    known: Mapping[str, Entry] = MappingProxyType({}),
) -> tuple[Path, ...]:
    """Write ``maps`` in all formats ``asked`` for; a format that was made from just these before is left as it is.

    What is written depends on the label maps alone, so a run that goes on after an interruption leaves the same bytes as one that was not.

    Files of images that are no longer among ``maps`` are removed from these formats, as they are left out of those that are one file.

    Args:
        known: everything that was ever done in ``out``, by image; see `Manifest.entries`.

    Returns:
        What was written, for people.

    Raises:
        StegoError: a label map that cannot be read, or an output that cannot be written.
    """
    state = _read_state(out / STATE)
    stamp = _stamp(maps, classes)
    items = [item for _, item in maps]
    remove_outdated(out, [map_of(out, entry) for entry in known.values() if entry.label.endswith(".png")], items, asked)
    due = [entry for entry in asked if state.get(entry.name) != stamp or not all((out / name).is_file() for name in entry.outputs(items))]
    if not due:
        return ()
    write_all(out, items, classes, due, count=len(items), jobs=jobs, progress=progress)
    write_text(out / STATE, json.dumps({**state, **{entry.name: stamp for entry in due}}, indent=1) + "\n")
    return tuple(out / entry.product for entry in due)


def map_of(out: Path, entry: Entry) -> LabelMap:
    """The label map that ``entry`` tells of, without its image."""
    return LabelMap(entry.image, entry.label.removeprefix("labels/").removesuffix(".png"), out / entry.label)


def remove_outdated(out: Path, before: Sequence[LabelMap], now: Sequence[LabelMap], asked: Iterable[Format]) -> None:
    """Remove what the formats ``asked`` hold of the maps ``before`` and not of those ``now``; nothing that was not written for an image."""
    for entry in asked:
        if not (out / entry.product).is_dir():
            continue
        # Where the file system ignores case, another spelling is the same file.
        kept = {name.casefold() for name in entry.outputs(list(now))}
        for name in entry.outputs(list(before)):
            if name.casefold() not in kept:
                remove_file(out, name, folders=True)


def remove_file(out: Path, name: str, *, folders: bool) -> None:
    """Remove a file of ``out``, if it is there, and with ``folders`` those that it leaves empty."""
    (out / name).unlink(missing_ok=True)
    if not folders:
        return
    with suppress(OSError):  # the first that is not empty, or not there
        for folder in PurePosixPath(name).parents[:-1]:
            (out / folder).rmdir()


def any_format(name: str) -> Format:
    """The format called ``name``, index PNG among them; raises as `find_format`."""
    return hub.FORMAT if name == hub.FORMAT.name else find_format(name)


def write_all(out: Path, items: Iterable[LabelMap], classes: Classes, asked: Sequence[Format], *, count: int, jobs: int | None, progress: Progress) -> None:
    """Each label map is read once, in a worker process, and its share of every format made there; raises as `export`."""
    names = [entry.name for entry in asked]
    arguments = ((item, classes, names) for item in items)
    with ExitStack() as stack, CrfPool(jobs) as pool:
        add = {entry.name: stack.enter_context(entry.writer(out, classes)) for entry in asked}
        results: Iterator[Any] = (encode(*each) for each in arguments) if count <= _FEW else pool.run(encode, arguments)
        for done, shares in enumerate(results):
            if isinstance(shares, BaseException):
                raise shares
            for name, share in shares.items():
                add[name](share)
            progress(f"writing {', '.join(names)}", done + 1, count)


def encode(item: LabelMap, classes: Classes, names: Sequence[str]) -> dict[str, Any]:
    """One image's share of each format."""
    return {name: any_format(name).encode(item, classes) for name in names}


def _stamp(maps: Sequence[tuple[Entry, LabelMap]], classes: Classes) -> str:
    """Changes whenever what is written could: images, labels, names or colours."""
    images = [[entry.image, entry.sha256, entry.model, entry.settings, item.key, str(item.image)] for entry, item in maps]
    return hashlib.sha256(json.dumps([VERSION, classes.names, classes.colors.tolist(), images]).encode()).hexdigest()[:16]


def _read_state(path: Path) -> dict[str, str]:
    try:
        state = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): str(stamp) for name, stamp in state.items()} if isinstance(state, dict) else {}
