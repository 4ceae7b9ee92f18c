"""PASCAL VOC's segmentation layout in a zip: 0 is background, which no pixel has, and 255 is void."""

from __future__ import annotations

from stego_app.formats.voc_zip import Dialect, voc_format

FORMAT = voc_format("voc", "PASCAL VOC: index masks, 255 = void", Dialect(subset="train", void=True))
