"""The output folder of batch labelling as a format: index PNGs, ``classes.json`` and the manifest. All others are made from it or read into it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image
from pydantic import ValidationError

from models.errors import StegoError
from stego_app.atomic import write_bytes
from stego_app.classes import IGNORED
from stego_app.formats.distinct import parse_hex
from stego_app.formats.fields import read_json, records, text
from stego_app.formats.label_map import Classes, LabelMap, LabelSet, checked_labels
from stego_app.formats.registry import Add, Format
from stego_app.labelling.manifest import Entry, Manifest, read_entries
from stego_app.labelling.settings import LabelSettings
from stego_app.labelling.summary import write_classes
from stego_app.segmentation import count_labels, index_png

LABELS = "labels"
CLASSES = "classes.json"


def encode(item: LabelMap, classes: Classes) -> tuple[Entry, bytes]:
    """The image's line in the manifest, and its index PNG."""
    counts = count_labels(checked_labels(item, classes))
    pixels = {str(label): int(counts[label]) for label in np.flatnonzero(counts)}
    digest = item.image.digest() if item.image else ""
    return Entry(item.name, digest, _model_of(classes), "", "done", f"{LABELS}/{item.key}.png", pixels=pixels), index_png(item.labels, classes.colors)


@contextmanager
def writer(out: Path, classes: Classes) -> Iterator[Add]:
    """See `Format.writer`."""
    entries: list[Entry] = []
    with Manifest(out) as manifest:

        def add(share: tuple[Entry, bytes]) -> None:
            write_bytes(out / share[0].label, share[1])
            manifest.add(share[0])
            entries.append(share[0])

        yield add
    write_classes(out, classes.names, classes.colors, entries, model=_model_of(classes), settings={})


def _model_of(classes: Classes) -> str:
    """What stands for a model where label maps come from elsewhere: those of other classes in the same folder are told apart by it."""
    return f"classes {hashlib.sha256(json.dumps([classes.names, classes.colors.tolist()]).encode()).hexdigest()[:16]}"


def read(path: Path) -> LabelSet:
    """Label maps of an output folder; or of a folder of index PNGs, whose classes then are numbers with the colours of the palette.

    Of an output folder, those whose classes `CLASSES` lists: a run with another model may have been interrupted, or have met fewer images than the one before.

    Raises:
        StegoError: no label maps there.
    """
    if not path.is_dir():
        raise StegoError(f"{path}: no such folder; expected one with {LABELS}/ and {CLASSES}, or of index PNGs")
    root = path / LABELS if (path / LABELS).is_dir() else path
    done = [entry for entry in read_entries(path).values() if entry.status == "done" and (path / entry.label).is_file()]
    made = _made_by(path / CLASSES) if (path / CLASSES).is_file() else None
    listed = {entry.label: entry.image for entry in done if made is None or (entry.model, entry.settings) == made}
    if done and not listed:
        raise StegoError(f"{path}: its label maps are of another model or other settings than {CLASSES}; run `stego label` to its end first")
    files = [path / label for label in listed] or sorted(file for file in root.rglob("*.png") if not file.name.startswith("."))
    if not files:
        raise StegoError(f"{path}: no label maps found; expected {LABELS}/*.png")
    names = list(listed.values()) or [file.relative_to(root).as_posix() for file in files]
    order = sorted(range(len(files)), key=lambda index: PurePosixPath(names[index]).parts)
    classes = _declared(path / CLASSES) if (path / CLASSES).is_file() else _of_palette(files)

    def maps() -> Iterator[LabelMap]:
        for index in order:
            key = files[index].relative_to(root).with_suffix("").as_posix()
            yield LabelMap(names[index], key, files[index])

    return LabelSet(classes, [names[index] for index in order], maps())


def _made_by(file: Path) -> tuple[str, str] | None:
    """Model and digest of the settings of the label maps whose classes ``file`` lists; None where it does not say."""
    table = read_json(file)
    model, settings = (table.get("model"), table.get("settings")) if isinstance(table, dict) else (None, None)
    try:
        digest = LabelSettings.model_validate(settings).digest() if settings else ""
    except ValidationError:  # written by another release
        return None
    return (model, digest) if isinstance(model, str) else None


def _declared(file: Path) -> Classes:
    entries: list[dict[str, Any]] = records(read_json(file), "classes", file)
    return Classes.of([text(entry, "name", file) for entry in entries], [parse_hex(entry.get("color")) for entry in entries])


def _of_palette(files: list[Path]) -> Classes:
    highest = max(max((label for label in LabelMap(file.name, file.stem, file).present), default=-1) for file in files)
    with Image.open(files[0]) as picture:
        table = picture.getpalette() if picture.mode == "P" else None
    colors = None if table is None else [tuple(table[3 * label : 3 * label + 3]) for label in range(min(highest + 1, len(table) // 3))]
    return Classes.of([f"class {label}" for label in range(highest + 1)], colors)


def looks_like(path: Path) -> bool:
    """Whether a folder was written by batch labelling."""
    try:
        return (path / LABELS).is_dir() and isinstance(json.loads((path / CLASSES).read_bytes()), dict)
    except (OSError, ValueError):
        return False


FORMAT = Format(
    name="png",
    product=LABELS,
    about=f"index PNGs (0, 1, …, {IGNORED} = no class), classes.json, manifest.jsonl",
    encode=encode,
    writer=writer,
    outputs=lambda items: [CLASSES, *(f"{LABELS}/{item.key}.png" for item in items)],
    read=read,
)
