"""PASCAL VOC's segmentation layout in a zip: 0 is background, which no pixel has, and 255 is void."""

from __future__ import annotations

from functools import partial

from stego_app.formats import voc_zip
from stego_app.formats.registry import Format
from stego_app.formats.voc_zip import Dialect

PRODUCT = "voc.zip"
_DIALECT = Dialect(subset="train", void=True)

FORMAT = Format(
    name="voc",
    product=PRODUCT,
    about="PASCAL VOC: index masks, 255 = void",
    encode=partial(voc_zip.encode, dialect=_DIALECT),
    writer=partial(voc_zip.writer, dialect=_DIALECT, product=PRODUCT),
    outputs=lambda _: [PRODUCT],
    read=voc_zip.read,
)
