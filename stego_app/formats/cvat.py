"""CVAT for images 1.1: an XML file of masks as run-length codes, which run along the rows inside a box."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.formats.distinct import distinct_names, parse_hex
from stego_app.formats.label_map import Classes, LabelMap, LabelSet, blank
from stego_app.formats.masks import Mask, class_masks
from stego_app.formats.parts import whole_file
from stego_app.formats.polygons import fill_polygon
from stego_app.formats.quoting import xml_text
from stego_app.formats.registry import Add, Format
from stego_app.segmentation import hex_color
from stego_app.valid_text import text_name

PRODUCT = "cvat.xml"


def encode(item: LabelMap, classes: Classes) -> str:
    """The image's element, without its id, which the writer puts first."""
    names = _names(classes)
    height, width = item.labels.shape
    lines = [f' name={quoteattr(xml_text(text_name(item.name)))} width="{width}" height="{height}">']
    for mask in class_masks(item, classes):
        box = mask.box
        place = f'left="{box.left}" top="{box.top}" width="{box.width}" height="{box.height}"'
        rle = ", ".join(map(str, row_runs(mask.mask)))
        lines.append(f'    <mask label={quoteattr(names[mask.label])} source="auto" occluded="0" rle="{rle}" {place} z_order="0">\n    </mask>')
    return "\n".join([*lines, "  </image>\n"])


def row_runs(mask: Mask) -> list[int]:
    """Lengths of the runs of ``mask`` (H, W) row by row, of zeros first; the first may be 0."""
    flat = mask.ravel()
    borders = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs: list[int] = np.diff(np.concatenate([[0], borders, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs


@contextmanager
def writer(out: Path, classes: Classes) -> Iterator[Add]:
    """See `Format.writer`."""
    labels = "".join(
        f"        <label>\n          <name>{escape(name)}</name>\n          <color>{hex_color(color)}</color>\n"
        "          <type>any</type>\n          <attributes>\n          </attributes>\n        </label>\n"
        for name, color in zip(_names(classes), classes.colors, strict=True)
    )
    with whole_file(out / PRODUCT) as part, part.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n      <name>stego</name>\n')
        file.write(f"      <mode>annotation</mode>\n      <labels>\n{labels}      </labels>\n    </task>\n  </meta>\n")
        number = 0

        def add(share: str) -> None:
            nonlocal number
            file.write(f'  <image id="{number}"{share}')
            number += 1

        yield add
        file.write("</annotations>\n")


def read(path: Path) -> LabelSet:
    """Masks and polygons of a file; what lies higher (``z_order``) or comes later is on top.

    Raises:
        StegoError: no such XML, or (from the iterator) a shape that cannot be.
    """
    try:
        if b"<!DOCTYPE" in path.read_bytes()[:4096]:
            raise StegoError(f"{path}: holds a document type, whose entities could grow without end; refused")
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        raise StegoError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last for an encoding that there is not
        raise StegoError(f"{path}: not readable as XML ({error})") from error
    if root.tag != "annotations":
        raise StegoError(f"{path}: <{root.tag}>; expected <annotations> as CVAT writes them")
    declared = [(entry.findtext("name") or "", entry.findtext("color") or "") for entry in root.iter("label") if entry.find("name") is not None]
    classes = Classes.of([name for name, _ in declared], [parse_hex(color) for _, color in declared])
    label_of = {name: label for label, name in enumerate(classes.names)}
    images = root.findall("image")
    names = [image.get("name") or "" for image in images]

    def maps() -> Iterator[LabelMap]:
        for image, name in zip(images, names, strict=True):
            where = f"{path}: image '{name}'"
            labels = blank(_number(image, "height", where), _number(image, "width", where), where)
            shapes = [shape for shape in image if shape.tag in ("mask", "polygon")]
            for shape in sorted(shapes, key=lambda shape: _whole(shape.get("z_order") or "0", "z_order", where)):
                label = label_of.get(shape.get("label") or "")
                if label is None:
                    raise StegoError(f"{where}: label '{shape.get('label')}' is not declared")
                if shape.tag == "mask":
                    _paint_mask(labels, shape, label, where)
                else:
                    fill_polygon(labels, _points(shape, where), label)
            yield LabelMap(name, str(PurePosixPath(name).with_suffix("")), labels)

    return LabelSet(classes, names, maps())


def _paint_mask(labels: npt.NDArray[np.uint8], shape: ElementTree.Element, label: int, where: str) -> None:
    left, top, width, height = (_number(shape, side, where) for side in ("left", "top", "width", "height"))
    try:
        runs = np.array([int(run) for run in (shape.get("rle") or "").split(",")], dtype=np.int64)
    except (ValueError, OverflowError):
        runs = np.zeros(0, dtype=np.int64)
    if (runs < 0).any() or int(runs.sum()) != width * height or left + width > labels.shape[1] or top + height > labels.shape[0]:
        raise StegoError(f"{where}: a mask whose run-length code does not fill its box, or whose box leaves the image")
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    labels[top : top + height, left : left + width][inside] = label


def _points(shape: ElementTree.Element, where: str) -> npt.NDArray[np.float64]:
    try:
        points = np.array([[float(value) for value in pair.split(",")] for pair in (shape.get("points") or "").split(";")])
        if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise ValueError
    except ValueError as error:
        raise StegoError(f"{where}: a polygon without readable points; expected x,y;x,y;…") from error
    return points


def _number(element: ElementTree.Element, name: str, where: str) -> int:
    value = _whole(element.get(name) or "", name, where)
    if value < 0:
        raise StegoError(f"{where}: '{name}' is '{value}'; expected a whole number, not a negative one")
    return value


def _whole(text: str, name: str, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise StegoError(f"{where}: '{name}' is '{text[:40]}'; expected a whole number") from None


def _names(classes: Classes) -> list[str]:
    return distinct_names(xml_text(name) for name in classes.names)


FORMAT = Format(
    name="cvat",
    product=PRODUCT,
    about="CVAT for images 1.1: XML masks",
    encode=encode,
    writer=writer,
    outputs=lambda _: [PRODUCT],
    read=read,
)
