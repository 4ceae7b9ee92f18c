"""Label maps as files to download, in any format there is: of one image, or of an album."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from stego_app.formats.image_file import ImageFile
from stego_app.formats.label_map import Classes, LabelMap
from stego_app.formats.registry import Format, find_format, formats
from stego_app.segmentation import hex_color
from ui.contract import SegmentationLike
from ui.downloads import Downloads
from ui.pictures import Look

PNG = "png"
OVERLAY = "overlay"
# Shorter than what the command line says of them: a phone has room for about 28 characters.
_WORDS = {
    "voc": "PASCAL VOC masks",
    "cvat-mask": "CVAT masks",
    "cvat": "CVAT XML",
    "coco": "COCO, by class",
    "coco-instances": "by piece",
    "yolo": "YOLO polygons",
    "labelme": "LabelMe JSON",
    "label-studio": "Label Studio",
}
_NOT_HERE = {"geotiff", OVERLAY}  # a photo dropped on the page lies nowhere on earth; overlays are drawn as the page shows them


@dataclass(frozen=True)
class Labelled:
    """An image's file, its name for downloads, and its segments."""

    path: Path
    stem: str
    segmentation: SegmentationLike


def choices() -> list[tuple[str, str]]:
    """(what people read, name) of every format that the page writes."""
    others = [(f"{name} – {_WORDS.get(name, entry.about)}", name) for name, entry in formats().items() if name not in _NOT_HERE]
    return [("Index PNG, with palette", PNG), ("Overlay, JPEG", OVERLAY), *others]


def write_export(downloads: Downloads, tab: str, kind: str, item: Labelled, look: Look) -> Path:
    """Write the segments of one image as ``kind`` (of `choices`), at the image's own size.

    Raises:
        StegoError: no such format, the image is needed and gone, or the disk is full.
    """
    segmentation = item.segmentation
    if kind == PNG:
        return downloads.write(tab, f"{item.stem}-classes.png", lambda path: path.write_bytes(segmentation.to_index_png()))
    if kind == OVERLAY:
        fade = look.fade if segmentation.has_confidence else 0.0
        return downloads.write(tab, f"{item.stem}-overlay.jpg", lambda path: path.write_bytes(segmentation.to_overlay_jpeg(look.alpha, fade=fade)))
    entry = _format(kind)
    classes = Classes.of(segmentation.names, segmentation.palette.tolist())
    label_map = LabelMap(item.path.name, item.stem, segmentation.labels, ImageFile(item.path, private=True))
    return downloads.write(tab, f"{item.stem}-{_file_name(entry)}", lambda path: _write_set(entry, [label_map], classes, path))


def write_album(downloads: Downloads, tab: str, kind: str, items: Sequence[LabelMap], classes: Classes) -> Path:
    """Write the segments of many images as one file.

    Args:
        downloads: where to write.
        tab: the browser.
        kind: of `choices`.
        items: label maps kept as index PNGs, with their images.
        classes: of all of them.

    Raises:
        StegoError: no such format, an image that is needed and gone, or the disk is full.
    """
    if kind == PNG:
        files = [(f"labels/{item.key}.png", Path(str(item.source))) for item in items]
        return downloads.write(tab, "labels.zip", lambda path: _zip(path, files, {"classes.csv": _classes_csv(classes)}))
    entry = find_format(kind) if kind == OVERLAY else _format(kind)
    return downloads.write(tab, _file_name(entry), lambda path: _write_set(entry, items, classes, path))


def _format(kind: str) -> Format:
    return find_format("" if kind in _NOT_HERE else kind)


def _file_name(entry: Format) -> str:
    """A folder comes as a zip."""
    return entry.product if "." in entry.product else f"{entry.product}.zip"


def _write_set(entry: Format, items: Iterable[LabelMap], classes: Classes, target: Path) -> None:
    entry.check()
    with tempfile.TemporaryDirectory(dir=target.parent) as place:
        out = Path(place)
        with entry.writer(out, classes) as add:
            for item in items:
                add(entry.encode(item, classes))
        made = out / entry.product
        if made.is_file():
            made.replace(target)
        else:
            _zip(target, [(str(file.relative_to(out).as_posix()), file) for file in sorted(made.rglob("*")) if file.is_file()], {})


def _zip(target: Path, files: Iterable[tuple[str, Path]], texts: dict[str, str]) -> None:
    with ZipFile(target, "w") as archive:
        for name, text in texts.items():
            archive.writestr(name, text, ZIP_DEFLATED)
        for name, file in files:  # PNG, JPEG and text alike; most is compressed already
            archive.write(file, name)


def _classes_csv(classes: Classes) -> str:
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(["id", "name", "color"])  # as `stego label` calls them, for `stego name --mapping`
    rows.writerows([label, name, hex_color(color)] for label, (name, color) in enumerate(zip(classes.names, classes.colors, strict=True)))
    return stream.getvalue()
