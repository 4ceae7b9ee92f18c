"""GeoTIFF label maps in the place of their images: CRS, transform and ground control points are taken over, 255 is nodata."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.classes import IGNORED
from stego_app.formats.image_file import ImageFile
from stego_app.formats.label_map import MAX_LABEL_PIXELS, Classes, LabelMap, LabelSet
from stego_app.formats.parts import whole_file
from stego_app.formats.rasters import open_raster, quiet_rasterio, raster_path, require_rasterio
from stego_app.formats.registry import Add, Format

FOLDER = "geotiff"
BLOCK = 512
_NAMES = "CLASS_NAMES"


def encode(item: LabelMap, _classes: Classes) -> LabelMap:
    """The image as it is: its labels are copied block by block when the file is written."""
    return item


@contextmanager
def writer(out: Path, classes: Classes) -> Iterator[Add]:
    """See `Format.writer`."""

    def add(item: LabelMap) -> None:
        write_geotiff(out / FOLDER / f"{item.key}.tif", item, classes)

    yield add


def write_geotiff(target: Path, item: LabelMap, classes: Classes) -> None:
    """One label map, never more than a row of blocks of it in memory.

    Raises:
        StegoError: the image is a raster of another size, or the file cannot be written.
    """
    with whole_file(target) as part, quiet_rasterio() as rasterio, ExitStack() as stack:
        rows = stack.enter_context(_rows(item))
        place = _place(item.image)
        if place.pop("size", rows.size) != rows.size:
            raise StegoError(f"{item.name}: its label map has another size; a raster that is turned by EXIF has no place for it")
        profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": rows.size[0], "width": rows.size[1], "nodata": IGNORED}
        layout = {"compress": "deflate", "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "bigtiff": "IF_SAFER"}
        points = place.pop("gcps", None)
        with rasterio.open(raster_path(part), "w", **profile, **layout, **place) as raster:
            if points:
                raster.gcps = points
            raster.write_colormap(1, {label: (*(int(value) for value in color), 255) for label, color in enumerate(classes.colors)} | {IGNORED: (0, 0, 0, 0)})
            raster.update_tags(**{_NAMES: json.dumps(classes.names)})
            for top in range(0, rows.size[0], BLOCK):
                block = rows.read(top, min(BLOCK, rows.size[0] - top))
                raster.write(block, 1, window=((top, top + block.shape[0]), (0, rows.size[1])))


def read(path: Path) -> LabelSet:
    """Label maps of a GeoTIFF, or of a folder of them; nodata comes back as 255.

    Raises:
        StegoError: no GeoTIFF, or (from the iterator) one that does not hold class indices.
    """
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in (".tif", ".tiff")) if path.is_dir() else [path]
    if not files:
        raise StegoError(f"{path}: no GeoTIFF found; expected *.tif")
    root = path if path.is_dir() else path.parent
    names = [file.relative_to(root).as_posix() for file in files]
    classes = _classes(files)

    def maps() -> Iterator[LabelMap]:
        for file, name in zip(files, names, strict=True):
            yield LabelMap(name, str(Path(name).with_suffix("").as_posix()), _labels(file), ImageFile(file))

    return LabelSet(classes, names, maps())


class _Rows:
    """Rows of a label map, from memory or from a file."""

    def __init__(self, labels: npt.NDArray[np.uint8] | None, raster: Any) -> None:
        self._labels, self._raster = labels, raster
        self.size: tuple[int, int] = (raster.height, raster.width) if labels is None else (labels.shape[0], labels.shape[1])

    def read(self, top: int, count: int) -> npt.NDArray[np.uint8]:
        """``count`` rows from ``top`` on, (count, W)."""
        if self._labels is not None:
            return self._labels[top : top + count]
        block: npt.NDArray[np.uint8] = self._raster.read(1, window=((top, top + count), (0, self.size[1])))
        return block


@contextmanager
def _rows(item: LabelMap) -> Iterator[_Rows]:
    if isinstance(item.source, Path):
        with open_raster(item.source) as raster:
            yield _Rows(None, raster)
    else:
        yield _Rows(item.source, None)


def _place(image: ImageFile | None) -> dict[str, Any]:
    """``crs``, ``transform`` and ``size`` of a raster, or its ground control points; nothing where the image has no place on earth."""
    if image is None:
        return {}
    try:
        with open_raster(image) as raster:
            points, system = raster.gcps
            if points:
                return {"gcps": (points, system), "size": (raster.height, raster.width)}
            if raster.crs is None and raster.transform.is_identity:
                return {}
            return {"crs": raster.crs, "transform": raster.transform, "size": (raster.height, raster.width)}
    except StegoError:  # a photo of a kind that rasterio does not know has no place on earth
        return {}


def _classes(files: list[Path]) -> Classes:
    """Names and colours of the first file that tells them; numbers as names where none does."""
    highest = -1
    for file in files:
        with open_raster(file) as raster:
            try:
                names = json.loads(raster.tags().get(_NAMES, "null"))
                colors = raster.colormap(1)
            except ValueError:  # no colours
                names, colors = None, {}
            if isinstance(names, list):
                return Classes.of([str(name) for name in names], [colors.get(label, (0, 0, 0, 0))[:3] for label in range(len(names))])
            labels = _labels(file)
            highest = max(highest, int(labels[labels != IGNORED].max(initial=0)))
    return Classes.of(f"class {label}" for label in range(highest + 1))


def _labels(file: Path) -> npt.NDArray[np.uint8]:
    with open_raster(file) as raster:
        if raster.count != 1 or raster.dtypes[0] not in ("uint8", "int16", "uint16", "int32", "uint32") or raster.height * raster.width > MAX_LABEL_PIXELS:
            raise StegoError(f"{file}: {raster.count} bands of {raster.dtypes[0]}; expected one band of class indices")
        values = raster.read(1)
        kept = np.ones(values.shape, dtype=bool) if raster.nodata is None else values != raster.nodata
        if kept.any() and (values[kept].min() < 0 or values[kept].max() > IGNORED):
            raise StegoError(f"{file}: values from {values[kept].min()} to {values[kept].max()}; expected class indices up to {IGNORED}")
        result: npt.NDArray[np.uint8] = np.where(kept, values, IGNORED).astype(np.uint8)
        return result


def _check() -> None:
    require_rasterio()


FORMAT = Format(
    name="geotiff",
    product=FOLDER,
    about="GeoTIFF, CRS and transform kept",
    encode=encode,
    writer=writer,
    outputs=lambda items: [f"{FOLDER}/{item.key}.tif" for item in items],
    read=read,
    check=_check,
)
