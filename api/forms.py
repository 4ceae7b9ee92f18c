"""The forms in which a segmented image is answered, from the segmentation to the bytes."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from api.negotiation import Form
from api.segmenting import Job, Segmented, class_areas, summarise
from stego_app.formats import coco_rle


def write_form(job: Job, result: Segmented, form: Form) -> bytes:
    """The body of an answer.

    Raises:
        StegoError: an overlay that shows confidence of a model that cannot tell it.
    """
    if form == "index":
        return result.shown.to_index_png()
    if form == "overlay":
        return result.shown.to_overlay_png(job.options.alpha, job.options.fade)
    if form == "coco":
        return json.dumps(coco_document(job, result), ensure_ascii=False).encode()
    if form == "hf":
        return json.dumps(hugging_face_list(result), ensure_ascii=False).encode()
    return summarise(job, result).model_dump_json().encode()


def coco_document(job: Job, result: Segmented) -> dict[str, Any]:
    """The image as a COCO data set of its own: one annotation a class, as run-length code (`api.schemas.CocoDocument`)."""
    height, width = result.shown.labels.shape
    found = class_areas(result.shown)
    table = job.segmenter.table(job.options.classes)
    annotations = []
    for number, area in enumerate(found, 1):
        mask = result.shown.labels == area.id
        annotations.append(
            {
                "id": number,
                "image_id": 1,
                "category_id": area.id,
                "segmentation": coco_rle(mask),
                "area": area.pixels,
                "bbox": _box(mask),
                "iscrowd": 1,  # COCO's word for a region that is given as run-length code
                "score": area.score,
            }
        )
    return {
        "images": [{"id": 1, "width": width, "height": height, "file_name": "image"}],
        "categories": [{"id": entry.label, "name": entry.name, "supercategory": ""} for entry in table.classes],
        "annotations": annotations,
    }


def hugging_face_list(result: Segmented) -> list[dict[str, Any]]:
    """The list that the Hugging Face ``image-segmentation`` task answers with: a black-and-white picture for each class (`api.schemas.HuggingFaceSegment`)."""
    return [{"label": area.name, "score": area.score, "mask": _picture(result.shown.labels == area.id)} for area in class_areas(result.shown)]


def _box(mask: npt.NDArray[np.bool_]) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]


def _picture(mask: npt.NDArray[np.bool_]) -> str:
    """A mask as a grey PNG of 0 and 255, in base64."""
    stream = BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(stream, "PNG", compress_level=1)
    return base64.b64encode(stream.getvalue()).decode("ascii")
