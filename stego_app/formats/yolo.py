"""YOLO's segmentation layout: one text file of polygons an image, ``data.yaml``, and the images beside."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml  # type: ignore[import-untyped]

from models.errors import StegoError
from stego_app.atomic import output_error, replacing, write_bytes, write_text
from stego_app.formats.distinct import parse_hex
from stego_app.formats.image_file import ImageFile
from stego_app.formats.image_size import upright_size
from stego_app.formats.label_map import Classes, LabelMap, LabelSet, blank
from stego_app.formats.masks import class_masks
from stego_app.formats.polygons import fill_polygon, outlines
from stego_app.formats.quoting import yaml_text
from stego_app.formats.registry import Add, Format
from stego_app.images import find_images
from stego_app.segmentation import hex_color

FOLDER = "yolo"
INSIDE = 0.25
"""Added to pixel positions: readers that cut decimals off and readers that round both come back to the pixel."""


def encode(item: LabelMap, classes: Classes) -> tuple[str, str, ImageFile, bytes]:
    """Where the text and the image go, the image, and the text: class and relative x y … of each connected piece.

    Raises:
        StegoError: the image is not known.
    """
    if item.image is None:
        raise StegoError(f"{item.name}: YOLO needs the image itself; name its folder by --images")
    height, width = item.labels.shape
    lines = []
    for mask in class_masks(item, classes):
        for points in outlines(mask):
            relative = (points + INSIDE) / (width, height)
            lines.append(f"{mask.label} " + " ".join(f"{value:.7f}" for value in relative.ravel()))
    return *_places(item), item.image, "".join(f"{line}\n" for line in lines).encode()


@contextmanager
def writer(out: Path, classes: Classes) -> Iterator[Add]:
    """See `Format.writer`. Images are linked, and copied only where the file system cannot link."""
    root = out / FOLDER

    def add(share: tuple[str, str, ImageFile, bytes]) -> None:
        text, image, source, data = share
        write_bytes(root / text, data)
        _place(root / image, source)

    yield add
    write_text(root / "data.yaml", _data_yaml(classes))


def outputs(items: list[LabelMap]) -> list[str]:
    """See `Format.outputs`."""
    files = [f"{FOLDER}/{place}" for item in items for place in _places(item)]
    return [f"{FOLDER}/data.yaml", *files]


def read(path: Path) -> LabelSet:
    """Polygons (and boxes) of a folder with ``data.yaml``, ``images/`` and ``labels/``; later lines lie on top.

    Raises:
        StegoError: no such folder, or (from the iterator) a line that cannot be read.
    """
    file, declared = _read_yaml(path)
    root = file.parent
    names = declared.get("names")
    listed = [names[key] for key in sorted(names)] if isinstance(names, dict) and all(isinstance(key, int) for key in names) else names
    if not isinstance(listed, list):
        raise StegoError(f"{file}: 'names': expected a list, or numbers and names")
    colors = declared.get("colors")
    rows = [parse_hex(color) for color in colors] if isinstance(colors, list) and len(colors) == len(listed) else None
    classes = Classes.of([str(name) for name in listed], rows)
    images = find_images(root / "images")
    relative = [PurePosixPath(image.relative_to(root / "images").as_posix()) for image in images]

    def maps() -> Iterator[LabelMap]:
        for image, name in zip(images, relative, strict=True):
            width, height = upright_size(image)
            labels = blank(height, width, image)
            text = root / _text_of(PurePosixPath("images", name)).with_suffix(".txt")
            # An image without a file holds nothing: that is how YOLO marks it.
            for line in text.read_text(encoding="utf-8", errors="replace").splitlines() if text.is_file() else []:
                _paint(labels, line, len(classes.names), text)
            yield LabelMap(str(name), str(name.with_suffix("")), labels, ImageFile(image))

    return LabelSet(classes, [str(name) for name in relative], maps())


def _places(item: LabelMap) -> tuple[str, str]:
    """Where the text and the image go, relative to the folder."""
    image = PurePosixPath("images", item.key)
    text = _text_of(image)
    return f"{text.parent}/{text.name}.txt", f"{image.parent}/{image.name}{PurePosixPath(item.name).suffix}"


def _text_of(image: PurePosixPath) -> PurePosixPath:
    """Where Ultralytics looks for the text of an image, suffixes aside: the *last* folder called images becomes labels, be it ours or one of the user's."""
    folders = list(image.parent.parts)
    folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return PurePosixPath(*folders, image.name)


def _paint(labels: npt.NDArray[np.uint8], line: str, classes: int, file: Path) -> None:
    parts = line.split()
    if not parts:
        return
    try:
        label, values = int(parts[0]), np.array([float(part) for part in parts[1:]])
    except ValueError:
        label, values = -1, np.zeros(0)
    polygon = len(values) >= 6 and len(values) % 2 == 0
    if not 0 <= label < classes or not np.isfinite(values).all() or not (polygon or len(values) == 4):
        raise StegoError(f"{file}: line '{line[:60]}': expected a class below {classes} and three or more points, or a box")
    if not polygon:
        x, y, width, height = values
        values = np.array([x - width / 2, y - height / 2, x + width / 2, y - height / 2, x + width / 2, y + height / 2, x - width / 2, y + height / 2])
    fill_polygon(labels, values.reshape(-1, 2) * (labels.shape[1], labels.shape[0]), label)


def _read_yaml(path: Path) -> tuple[Path, dict[str, Any]]:
    file = path / "data.yaml" if path.is_dir() else path
    try:
        declared = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise StegoError(f"{file}: cannot be read ({error.strerror or error}); expected a YOLO folder with data.yaml") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise StegoError(f"{file}: not readable as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(declared, dict):
        raise StegoError(f"{file}: expected fields such as 'names'")
    return file, declared


def _data_yaml(classes: Classes) -> str:
    names = "".join(f"  {label}: {yaml_text(name)}\n" for label, name in enumerate(classes.names))
    colors = ", ".join(yaml_text(hex_color(color)) for color in classes.colors)
    return f"# Polygons of connected pieces, holes bridged; pixels without class are in none.\ntrain: images\nval: images\nnames:\n{names}colors: [{colors}]\n"


def _place(target: Path, source: ImageFile) -> None:
    try:
        if source.member:
            write_bytes(target, source.read_bytes())
        elif not (target.exists() and target.samefile(source.path)):
            with replacing(target) as part:
                try:
                    os.link(source.path.resolve(), part)
                except OSError:  # another disk, or a file system without links
                    shutil.copyfile(source.path, part)
    except OSError as error:
        raise output_error(target, error) from error


FORMAT = Format(
    name="yolo",
    product=FOLDER,
    about="YOLO segmentation: polygons and data.yaml",
    encode=encode,
    writer=writer,
    outputs=outputs,
    read=read,
    exact=False,
    needs_image=True,
)
