"""Label maps in the formats of other tools, and back."""

from stego_app.formats.brush_rle import brush_rle, read_brush_rle
from stego_app.formats.coco_rle import coco_rle, read_coco_rle

__all__ = ["brush_rle", "coco_rle", "read_brush_rle", "read_coco_rle"]
