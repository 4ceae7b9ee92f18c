"""One image from a stream, its labels to a stream."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import numpy as np

from models.errors import StegoError
from stego_app.formats.image_file import ImageFile
from stego_app.formats.label_map import LabelMap
from stego_app.labelling.export import any_format
from stego_app.labelling.folder import label_images
from stego_app.labelling.names import plan_image
from stego_app.labelling.segmenter import LabellingSegmenter
from stego_app.labelling.settings import LabelSettings
from stego_app.progress import Progress, silent

NAME = "stdin"


def label_stream(data: bytes, segmenter: LabellingSegmenter, settings: LabelSettings, kind: str, progress: Progress = silent, *, name: str = NAME) -> bytes:
    """The labels of the image ``data`` in the format ``kind``: an index PNG for "png", else the format's file for this one image, which it calls ``name``.

    Raises:
        StegoError: not an image, an unknown format, or settings the segmenter refuses.
    """
    target = any_format(kind)
    with TemporaryDirectory(prefix="stego-") as folder:
        image = Path(folder, NAME)
        image.write_bytes(data)
        key = PurePosixPath(name).stem
        plan = plan_image(ImageFile(image, private=True), name, key)  # where it lies now is gone before anybody looks
        out = Path(folder, "out")
        asked = settings.model_copy(update={"formats": (kind,), "overlays": False, "confidence": False})
        summary = label_images([plan], out, segmenter, asked, progress)
        if summary.failures:
            raise StegoError(summary.failures[0][1])
        made = target.outputs([LabelMap(name, key, np.zeros((0, 0), dtype=np.uint8))])
        of_any = target.outputs([])
        return (out / next((file for file in made if file not in of_any), made[0])).read_bytes()
