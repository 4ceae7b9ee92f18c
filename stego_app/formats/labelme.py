"""LabelMe's JSON files, with masks: pixel for pixel. ``labelmerc`` tells LabelMe the names and colours."""

from __future__ import annotations

import base64
import binascii
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml  # type: ignore[import-untyped]
from PIL import Image

from models.errors import StegoError
from stego_app.atomic import write_text
from stego_app.formats.distinct import distinct_names, is_color
from stego_app.formats.fields import integer, read_json, records, text
from stego_app.formats.label_map import Classes, LabelMap, LabelSet, blank
from stego_app.formats.masks import Mask, class_masks
from stego_app.formats.polygons import fill_polygon
from stego_app.formats.quoting import yaml_text
from stego_app.formats.registry import Add, Format
from stego_app.images import read_image

FOLDER = "labelme"
SETTINGS = "labelmerc"
VERSION = "5.5.0"
"""Of LabelMe, whose files look like these; masks came before."""


def encode(item: LabelMap, classes: Classes) -> tuple[str, dict[str, Any], Path | None]:
    """Where the file goes, what is in it, and the image's path, which the writer makes relative to the file; None where it has none to be told of."""
    image = item.image
    # Of a private image only the name is known to be the reader's too: LabelMe looks for it beside the file.
    name = PurePosixPath(item.name).name if image and image.private else item.name
    names = distinct_names(classes.names)
    height, width = item.labels.shape
    shapes = []
    for mask in class_masks(item, classes):
        box = mask.box
        corners = [[box.left, box.top], [box.left + box.width - 1, box.top + box.height - 1]]
        fixed: dict[str, Any] = {"group_id": None, "description": "", "shape_type": "mask", "flags": {}}
        shapes.append({"label": names[mask.label], "points": corners, **fixed, "mask": _png(mask.mask)})
    document = {"version": VERSION, "flags": {}, "shapes": shapes, "imagePath": name, "imageData": None, "imageHeight": height, "imageWidth": width}
    return f"{item.key}.json", document, image.path if image and not image.member and not image.private else None


@contextmanager
def writer(out: Path, classes: Classes) -> Iterator[Add]:
    """See `Format.writer`."""
    root = out / FOLDER

    def add(share: tuple[str, dict[str, Any], Path | None]) -> None:
        name, document, image = share
        target = root / name
        if image is not None:
            document["imagePath"] = Path(os.path.relpath(image.resolve(), target.parent.resolve())).as_posix()
        write_text(target, json.dumps(document, indent=1) + "\n")

    yield add
    names = distinct_names(classes.names)
    lines = [f"labels: [{', '.join(map(yaml_text, names))}]", "shape_color: manual", "label_colors:"]
    lines += [f"  {yaml_text(name)}: {[int(value) for value in color]}" for name, color in zip(names, classes.colors, strict=True)]
    write_text(root / SETTINGS, "\n".join(lines) + "\n")


def read(path: Path) -> LabelSet:
    """Masks, polygons and rectangles of a folder of files, or of one; later shapes lie on top.

    Raises:
        StegoError: no files, or one that LabelMe would not have written.
    """
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    if not files:
        raise StegoError(f"{path}: no LabelMe files found; expected *.json")
    root = path if path.is_dir() else path.parent
    documents = [read_json(file) for file in files]
    classes = _classes(
        root / SETTINGS,
        sorted({text(shape, "label", file) for file, document in zip(files, documents, strict=True) for shape in records(document, "shapes", file)}),
    )
    label_of = {name: label for label, name in enumerate(classes.names)}
    names = []
    for file, document in zip(files, documents, strict=True):
        suffix = PurePosixPath(text(document, "imagePath", file).replace("\\", "/")).suffix
        names.append(f"{file.relative_to(root).with_suffix('').as_posix()}{suffix}")

    def maps() -> Iterator[LabelMap]:
        for file, document, name in zip(files, documents, names, strict=True):
            labels = blank(integer(document, "imageHeight", file), integer(document, "imageWidth", file), file)
            for shape in records(document, "shapes", file):
                _paint(labels, shape, label_of[text(shape, "label", file)], file)
            yield LabelMap(name, str(PurePosixPath(name).with_suffix("")), labels)

    return LabelSet(classes, names, maps())


def _paint(labels: npt.NDArray[np.uint8], shape: dict[str, Any], label: int, file: Path) -> None:
    kind = shape.get("shape_type", "polygon")
    try:
        points = np.array(shape["points"], dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise ValueError("points")
        if kind == "mask":
            _paint_mask(labels, points, shape["mask"], label, file)
        elif kind in ("polygon", "rectangle"):
            fill_polygon(labels, points if kind == "polygon" else _corners(points), label)
        else:
            raise StegoError(f"{file}: a shape of type '{kind}'; expected mask, polygon or rectangle")
    except (KeyError, TypeError, ValueError, IndexError, binascii.Error) as error:
        raise StegoError(f"{file}: a {kind} of '{shape.get('label')}' cannot be read ({error})") from error


def _corners(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The four corners of a rectangle given by two."""
    (left, top), (right, bottom) = points
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _paint_mask(labels: npt.NDArray[np.uint8], points: npt.NDArray[np.float64], data: str, label: int, file: Path) -> None:
    mask = read_image(base64.b64decode(data, validate=True), name=f"{file}: mask")[..., 0] > 0
    left, top = (int(value) for value in points[0])
    right, bottom = left + mask.shape[1], top + mask.shape[0]
    if left < 0 or top < 0 or right > labels.shape[1] or bottom > labels.shape[0] or (right - 1, bottom - 1) != tuple(int(value) for value in points[1]):
        raise ValueError("the mask does not fit its corners or leaves the image")
    labels[top:bottom, left:right][mask] = label


def _classes(settings: Path, used: list[str]) -> Classes:
    """Those of ``labelmerc``, then any others that were used; the names that were used where there is no such file."""
    try:
        declared = yaml.safe_load(settings.read_text(encoding="utf-8"))
        names = [str(name) for name in declared["labels"]]
        colors = {str(name): color for name, color in (declared.get("label_colors") or {}).items()}
    except FileNotFoundError:
        return Classes.of(used)
    except (OSError, yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, AttributeError) as error:
        raise StegoError(f"{settings}: expected 'labels' and 'label_colors' ({error})") from error
    names += [name for name in used if name not in names]
    return Classes.of(names, [color if is_color(color := colors.get(name)) else None for name in names])


def _png(mask: Mask) -> str:
    stream = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).convert("1").save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")


FORMAT = Format(
    name="labelme",
    product=FOLDER,
    about="LabelMe JSON with masks",
    encode=encode,
    writer=writer,
    outputs=lambda items: [f"{FOLDER}/{SETTINGS}", *(f"{FOLDER}/{item.key}.json" for item in items)],
    read=read,
)
