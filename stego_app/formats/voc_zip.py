"""What VOC and CVAT's "Segmentation mask" share: a zip of colour-coded masks, a label map in text, a list of images."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.errors import StegoError
from stego_app.classes import IGNORED
from stego_app.formats.distinct import Color, distinct_colors, distinct_names
from stego_app.formats.label_map import MAX_LABEL_PIXELS, Classes, LabelMap, LabelSet, checked_labels
from stego_app.formats.parts import whole_file
from stego_app.formats.registry import Add, Format
from stego_app.formats.safe_zip import DAMAGED, add_bytes, members, open_zip
from stego_app.images import read_image
from stego_app.valid_text import text_name

MASKS = "SegmentationClass"
LISTS = "ImageSets/Segmentation"
LABELMAP = "labelmap.txt"
BACKGROUND = "background"
IGNORED_NAME = "ignored"
BLACK: Color = (0, 0, 0)
VOID: Color = (224, 224, 192)
"""What VOC paints pixels with that have no class."""


@dataclass(frozen=True)
class Dialect:
    """``subset``: the name of the list of images. ``void``: whether pixels without class are VOC's void (255) or background (0)."""

    subset: str
    void: bool


def entries(classes: Classes, dialect: Dialect) -> list[tuple[str, Color]]:
    """Names and colours as they stand in ``labelmap.txt``: background first, then the classes, then void where the dialect has it."""
    names = distinct_names(classes.names, reserved=(BACKGROUND, IGNORED_NAME), forbidden=":#,\n\r")
    colors = distinct_colors(classes.colors, reserved=(BLACK, VOID))
    return [(BACKGROUND, BLACK), *zip(names, colors, strict=True), *([(IGNORED_NAME, VOID)] if dialect.void else [])]


def encode(item: LabelMap, classes: Classes, dialect: Dialect) -> tuple[str, bytes]:
    """The image's key and its mask as a palette PNG: value = place in ``labelmap.txt``, colour = the one there.

    Raises:
        StegoError: more classes than fit beside background and void.
    """
    if len(classes.names) >= IGNORED:
        raise StegoError(f"{len(classes.names)} classes: VOC holds at most {IGNORED - 1} beside background and void")
    values = np.zeros(256, dtype=np.uint8)
    values[: len(classes.names)] = np.arange(1, len(classes.names) + 1)
    values[IGNORED] = IGNORED if dialect.void else 0
    table = np.zeros((256, 3), dtype=np.uint8)
    listed = entries(classes, dialect)
    table[: len(classes.names) + 1] = [color for _, color in listed[: len(classes.names) + 1]]
    table[IGNORED] = VOID if dialect.void else BLACK
    picture = Image.fromarray(values[checked_labels(item, classes)])
    picture.putpalette(table.tobytes())
    stream = io.BytesIO()
    picture.save(stream, "PNG", bits=8)
    return text_name(item.key), stream.getvalue()


@contextmanager
def writer(out: Path, classes: Classes, dialect: Dialect, product: str) -> Iterator[Add]:
    """See `Format.writer`."""
    with whole_file(out / product) as part, ZipFile(part, "w", allowZip64=True) as archive:
        lines = [f"{name}:{','.join(map(str, color))}::" for name, color in entries(classes, dialect)]
        add_bytes(archive, LABELMAP, ("# label:color_rgb:parts:actions\n" + "\n".join(lines) + "\n").encode())
        listed: list[str] = []

        def add(share: tuple[str, bytes]) -> None:
            listed.append(share[0])
            add_bytes(archive, f"{MASKS}/{share[0]}.png", share[1], packed=False)

        yield add
        add_bytes(archive, f"{LISTS}/{dialect.subset}.txt", "".join(f"{key}\n" for key in listed).encode())


def read(path: Path) -> LabelSet:
    """Masks of a zip, or of the folder that it was unpacked to. Background and void come back as 255.

    Raises:
        StegoError: no masks, no label map, or (from the iterator) a damaged mask or a colour that the label map does not declare.
    """
    if path.is_dir():
        names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        load = partial(_from_folder, path)
    else:
        archive = open_zip(path)
        names = members(archive)
        load = partial(_from_zip, archive)
    if LABELMAP not in names:
        raise StegoError(f"{path}: holds no {LABELMAP}; expected the names and colours of its classes there")
    listed = _parse_labelmap(load(LABELMAP), path)
    masks = [name for name in names if name.startswith(f"{MASKS}/") and name.endswith(".png")]
    if not masks:
        raise StegoError(f"{path}: no masks; expected {MASKS}/*.png")
    kept = [(name, color) for name, color in listed if name not in (BACKGROUND, IGNORED_NAME)]
    classes = Classes.of([name for name, _ in kept], [color for _, color in kept])
    lookup = {color: IGNORED for name, color in listed if name in (BACKGROUND, IGNORED_NAME)} | {VOID: IGNORED, BLACK: IGNORED}
    lookup |= {color: label for label, (_, color) in enumerate(kept)}

    keys = [str(PurePosixPath(name).relative_to(MASKS).with_suffix("")) for name in masks]

    def maps() -> Iterator[LabelMap]:
        for name, key in zip(masks, keys, strict=True):
            yield LabelMap(f"{key}.png", key, labels_of_colors(read_image(load(name), name=f"{path}/{name}", max_pixels=MAX_LABEL_PIXELS), lookup, name))

    return LabelSet(classes, [f"{key}.png" for key in keys], maps())


def labels_of_colors(colors: npt.NDArray[np.uint8], lookup: dict[Color, int], name: str) -> npt.NDArray[np.uint8]:
    """Labels (H, W) of a painted mask (H, W, 3).

    Raises:
        StegoError: a colour that ``lookup`` does not hold.
    """
    packed = (colors[..., 0].astype(np.uint32) << 16) | (colors[..., 1].astype(np.uint32) << 8) | colors[..., 2]
    values, inverse = np.unique(packed, return_inverse=True)
    labels = []
    for value in values:
        color = (int(value) >> 16, (int(value) >> 8) & 255, int(value) & 255)
        if color not in lookup:
            raise StegoError(f"{name}: colour {color} is not declared; expected one of {LABELMAP}")
        labels.append(lookup[color])
    result: npt.NDArray[np.uint8] = np.array(labels, dtype=np.uint8)[inverse].reshape(packed.shape)
    return result


def voc_format(name: str, about: str, dialect: Dialect) -> Format:
    """The format that writes ``dialect`` and reads any."""
    product = f"{name}.zip"
    return Format(
        name=name,
        product=product,
        about=about,
        encode=partial(encode, dialect=dialect),
        writer=partial(writer, dialect=dialect, product=product),
        outputs=lambda _: [product],
        read=read,
    )


def _parse_labelmap(data: bytes, path: Path) -> list[tuple[str, Color]]:
    result: list[tuple[str, Color]] = []
    for line in data.decode("utf-8", "replace").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        parts = rest.partition(":")[0].split(",")
        if len(parts) != 3 or not all(part.strip().isdigit() and int(part) < 256 for part in parts):
            raise StegoError(f"{path}: {LABELMAP} line '{line}': expected name:red,green,blue:parts:actions")
        result.append((name, (int(parts[0]), int(parts[1]), int(parts[2]))))
    return result


def _from_folder(root: Path, name: str) -> bytes:
    return (root / name).read_bytes()


def _from_zip(archive: ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except (OSError, *DAMAGED) as error:
        raise StegoError(f"{archive.filename}/{name}: damaged in the zip ({str(error) or type(error).__name__})") from error
