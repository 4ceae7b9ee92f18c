"""COCO's JSON with run-length codes: one annotation a class and image (as "stuff" has it), or one a connected piece ("instances")."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from models.errors import StegoError
from stego_app.formats.coco_rle import coco_rle, read_coco_rle
from stego_app.formats.distinct import is_color
from stego_app.formats.fields import integer, read_json, records, text
from stego_app.formats.label_map import Classes, LabelMap, LabelSet, blank
from stego_app.formats.masks import Mask, class_masks, pieces
from stego_app.formats.parts import whole_file
from stego_app.formats.registry import Add, Format
from stego_app.valid_text import text_name

_POINT = 2


def encode(item: LabelMap, classes: Classes, *, instances: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The image's record and its annotations, without ids. Category ids are labels + 1."""
    height, width = item.labels.shape
    annotations = []
    for whole in class_masks(item, classes):
        for mask in pieces(whole) if instances else [whole]:
            rle = coco_rle(mask.whole((height, width)))
            values = {"category_id": mask.label + 1, "segmentation": rle, "area": int(mask.mask.sum()), "bbox": list(mask.box), "iscrowd": 0}
            annotations.append(values)
    return {"file_name": text_name(item.name), "width": width, "height": height}, annotations


@contextmanager
def writer(out: Path, classes: Classes, product: str) -> Iterator[Add]:
    """See `Format.writer`. Images and annotations each go to a file, so that memory does not grow with them."""
    categories = [
        {"id": label + 1, "name": name, "supercategory": "", "color": [int(value) for value in color]}
        for label, (name, color) in enumerate(zip(classes.names, classes.colors, strict=True))
    ]
    counts = {"images": 0, "annotations": 0}
    with whole_file(out / product) as part, TemporaryFile("w+", encoding="utf-8", dir=out) as annotations, part.open("w", encoding="utf-8") as images:
        images.write('{"info": {"description": "label maps written by stego"}, "licenses": [], "categories": ' + json.dumps(categories) + ', "images": [')

        def add(share: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
            counts["images"] += 1
            images.write((",\n" if counts["images"] > 1 else "\n") + json.dumps({"id": counts["images"], **share[0]}))
            for values in share[1]:
                counts["annotations"] += 1
                numbered = {"id": counts["annotations"], "image_id": counts["images"], **values}
                annotations.write((",\n" if counts["annotations"] > 1 else "\n") + json.dumps(numbered))

        yield add
        images.write('\n], "annotations": [')
        annotations.seek(0)
        shutil.copyfileobj(annotations, images)
        images.write("\n]}\n")


def read(path: Path) -> LabelSet:
    """Label maps of a file with run-length codes or polygons; where annotations overlap, later ones lie on top.

    Raises:
        StegoError: not such a file, or (from the iterator) an annotation that does not fit its image.
    """
    document = read_json(path)
    categories = sorted(records(document, "categories", path), key=lambda entry: integer(entry, "id", path))
    label_of = {integer(entry, "id", path): label for label, entry in enumerate(categories)}
    colors = [entry.get("color") for entry in categories]
    classes = Classes.of([text(entry, "name", path) for entry in categories], [color if is_color(color) else None for color in colors])
    of_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for entry in records(document, "annotations", path):
        of_image[integer(entry, "image_id", path)].append(entry)
    images = records(document, "images", path)

    def maps() -> Iterator[LabelMap]:
        for image in images:
            name = text(image, "file_name", path)
            labels = blank(integer(image, "height", path), integer(image, "width", path), f"{path}: {name}")
            for entry in of_image[integer(image, "id", path)]:
                category = integer(entry, "category_id", path)
                if category not in label_of:
                    raise StegoError(f"{path}: annotation of {name}: category {category} is not declared")
                labels[_mask(entry.get("segmentation"), labels.shape, f"{path}: annotation of {name}")] = label_of[category]
            yield LabelMap(name, str(PurePosixPath(name).with_suffix("")), labels)

    return LabelSet(classes, [text(image, "file_name", path) for image in images], maps())


def _mask(segmentation: Any, size: tuple[int, ...], where: str) -> Mask:
    try:
        if isinstance(segmentation, dict):
            mask = read_coco_rle(segmentation)
        else:
            polygons = [[float(value) for value in polygon] for polygon in segmentation]
            if not all(len(polygon) >= 3 * _POINT and len(polygon) % _POINT == 0 for polygon in polygons):
                raise ValueError("a polygon of fewer than three points")
            merged = coco_mask.merge(coco_mask.frPyObjects(polygons, *size)) if polygons else None
            mask = np.zeros(size, dtype=bool) if merged is None else np.asarray(coco_mask.decode(merged)).astype(bool)
    except (StegoError, TypeError, ValueError) as error:
        raise StegoError(f"{where}: {error}; expected a run-length code or polygons") from error
    if mask.shape != size:
        raise StegoError(f"{where}: a mask of {mask.shape[0]} × {mask.shape[1]} for an image of {size[0]} × {size[1]} (height × width)")
    return mask


def _format(name: str, about: str, *, instances: bool) -> Format:
    product = f"{name}.json"
    return Format(
        name=name,
        product=product,
        about=about,
        encode=partial(encode, instances=instances),
        writer=partial(writer, product=product),
        outputs=lambda _: [product],
        read=read,
    )


FORMAT = _format("coco", "COCO JSON, one run-length code a class", instances=False)
INSTANCES = _format("coco-instances", "COCO JSON, one run-length code a connected piece", instances=True)
