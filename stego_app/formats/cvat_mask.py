"""CVAT's "Segmentation mask 1.1": as VOC, with background for pixels that have no class, and the list that CVAT looks for."""

from __future__ import annotations

from functools import partial

from stego_app.formats import voc_zip
from stego_app.formats.registry import Format
from stego_app.formats.voc_zip import Dialect

PRODUCT = "cvat-mask.zip"
_DIALECT = Dialect(subset="default", void=False)

FORMAT = Format(
    name="cvat-mask",
    product=PRODUCT,
    about='CVAT "Segmentation mask 1.1"',
    encode=partial(voc_zip.encode, dialect=_DIALECT),
    writer=partial(voc_zip.writer, dialect=_DIALECT, product=PRODUCT),
    outputs=lambda _: [PRODUCT],
    read=voc_zip.read,
)
