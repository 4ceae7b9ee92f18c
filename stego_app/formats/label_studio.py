"""Label Studio: tasks with predictions, whose brushes are run-length codes, and the labelling interface that shows them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from models.errors import StegoError
from stego_app.formats.brush_rle import brush_rle, read_brush_rle
from stego_app.formats.distinct import distinct_names, parse_hex
from stego_app.formats.fields import integer, read_json
from stego_app.formats.label_map import Classes, LabelMap, LabelSet, blank
from stego_app.formats.masks import class_masks
from stego_app.formats.parts import whole_file
from stego_app.formats.quoting import xml_text
from stego_app.formats.registry import Add, Format
from stego_app.segmentation import hex_color
from stego_app.valid_text import text_name

PRODUCT = "label-studio.json"
INTERFACE = "label-studio.xml"
FROM_NAME, TO_NAME = "tag", "image"
LOCAL_FILES = "/data/local-files/?d="
"""Where Label Studio serves a folder of its own machine; the images' names follow."""


def encode(item: LabelMap, classes: Classes) -> str:
    """The image's task as JSON."""
    names = _names(classes)
    height, width = item.labels.shape
    name = text_name(item.name)
    results = []
    for mask in class_masks(item, classes):
        value = {"format": "rle", "rle": brush_rle(mask.whole((height, width))), "brushlabels": [names[mask.label]]}
        # The same in every run, so that importing twice shows what is new.
        number = hashlib.sha256(f"{name}/{mask.label}".encode()).hexdigest()[:10]
        place = {"from_name": FROM_NAME, "to_name": TO_NAME, "original_width": width, "original_height": height, "image_rotation": 0}
        results.append({"id": number, "type": "brushlabels", **place, "value": value})
    task = {"data": {"image": LOCAL_FILES + quote(name)}, "predictions": [{"model_version": "stego", "result": results}]}
    # The size stands beside, for images in which nothing is labelled.
    return json.dumps({**task, "meta": {"width": width, "height": height}}, separators=(",", ":"))


@contextmanager
def writer(out: Path, classes: Classes) -> Iterator[Add]:
    """See `Format.writer`."""
    with whole_file(out / INTERFACE) as part:
        part.write_text(_interface(classes), encoding="utf-8")
    with whole_file(out / PRODUCT) as part, part.open("w", encoding="utf-8") as file:
        file.write("[")
        between = "\n"

        def add(share: str) -> None:
            nonlocal between
            file.write(between + share)
            between = ",\n"

        yield add
        file.write("\n]\n")


def read(path: Path) -> LabelSet:
    """Brushes of tasks, of a person's annotation where there is one, else of the first prediction; later ones lie on top.

    Names and colours are those of ``label-studio.xml`` beside the file, or the names found where there is none.

    Raises:
        StegoError: no such file, or (from the iterator) a brush that cannot be read.
    """
    tasks = read_json(path)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise StegoError(f"{path}: expected a list of tasks")
    found = [_brushes(task, path) for task in tasks]
    classes = _classes(path.with_name(INTERFACE), sorted({_label(brush, path) for brushes in found for brush in brushes}))
    label_of = {name: label for label, name in enumerate(classes.names)}
    names = [_name(task, path) for task in tasks]

    def maps() -> Iterator[LabelMap]:
        for task, brushes, name in zip(tasks, found, names, strict=True):
            sizes = brushes[0] if brushes else {"original_height": _meta(task, "height"), "original_width": _meta(task, "width")}
            height, width = integer(sizes, "original_height", path), integer(sizes, "original_width", path)
            labels = blank(height, width, f"{path}: {name}")
            for brush in brushes:
                if _label(brush, path) not in label_of:
                    raise StegoError(f"{path}: {name}: label '{_label(brush, path)}' is not in {INTERFACE}")
                try:
                    drawn = read_brush_rle(brush["value"]["rle"], height, width) > 127
                except StegoError as error:
                    raise StegoError(f"{path}: {name}: {error}") from error
                labels[drawn] = label_of[_label(brush, path)]
            yield LabelMap(name, str(PurePosixPath(name).with_suffix("")), labels)

    return LabelSet(classes, names, maps())


def _brushes(task: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    for kind in ("annotations", "predictions"):
        answers = task.get(kind)
        if isinstance(answers, list) and answers:
            results = answers[0].get("result") if isinstance(answers[0], dict) else None
            if not isinstance(results, list) or not all(isinstance(entry, dict) for entry in results):
                raise StegoError(f"{path}: '{kind}': expected a list of results")
            return [entry for entry in results if entry.get("type") == "brushlabels" and isinstance(entry.get("value"), dict) and "rle" in entry["value"]]
    return []


def _label(brush: dict[str, Any], path: Path) -> str:
    labels = brush["value"].get("brushlabels")
    if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str):
        raise StegoError(f"{path}: a brush with labels {labels!r}; expected one")
    return labels[0]


def _name(task: dict[str, Any], path: Path) -> str:
    data = task.get("data")
    address = data.get("image") if isinstance(data, dict) else None
    if not isinstance(address, str) or not address:
        raise StegoError(f"{path}: a task without data.image; expected the image's address there")
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d")
    return local[0] if local else unquote(parts.path).lstrip("/")


def _meta(task: dict[str, Any], name: str) -> Any:
    meta = task.get("meta")
    return meta.get(name) if isinstance(meta, dict) else None


def _names(classes: Classes) -> list[str]:
    # Of the tasks too: labels there are looked up in the interface, which is XML.
    return distinct_names(xml_text(name) for name in classes.names)


def _interface(classes: Classes) -> str:
    labels = "".join(
        f"    <Label value={quoteattr(name)} background={quoteattr(hex_color(color))}/>\n" for name, color in zip(_names(classes), classes.colors, strict=True)
    )
    brushes = f'  <BrushLabels name="{FROM_NAME}" toName="{TO_NAME}">\n{labels}  </BrushLabels>\n'
    return f'<View>\n  <Image name="{TO_NAME}" value="$image" zoom="true"/>\n{brushes}</View>\n'


def _classes(interface: Path, used: list[str]) -> Classes:
    try:
        labels = [(entry.get("value") or "", entry.get("background") or "") for entry in ElementTree.parse(interface).iter("Label")]
    except FileNotFoundError:
        return Classes.of(used)
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise StegoError(f"{interface}: not a readable labelling interface ({error})") from error
    return Classes.of([name for name, _ in labels], [parse_hex(color) for _, color in labels])


FORMAT = Format(
    name="label-studio",
    product=PRODUCT,
    about="Label Studio tasks with brush predictions",
    encode=encode,
    writer=writer,
    outputs=lambda _: [PRODUCT, INTERFACE],
    read=read,
)
