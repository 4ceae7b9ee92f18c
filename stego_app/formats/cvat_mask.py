"""CVAT's "Segmentation mask 1.1": as VOC, with background for pixels that have no class, and the list that CVAT looks for."""

from __future__ import annotations

from stego_app.formats.voc_zip import Dialect, voc_format

FORMAT = voc_format("cvat-mask", 'CVAT "Segmentation mask 1.1"', Dialect(subset="default", void=False))
