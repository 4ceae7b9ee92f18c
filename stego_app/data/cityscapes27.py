"""Cityscapes with 27 classes: all that are not void, as unsupervised segmentation is scored (Cordts et al. 2016; Cho et al. 2021, PiCIE)."""

from __future__ import annotations

from pathlib import Path

from models.errors import StegoError
from stego_app.data.dataset import Dataset, LabelRule, Sample, chosen_splits, require_labels

IMAGE_END = "_leftImg8bit.png"
LABEL_END = "_gtFine_labelIds.png"

# fmt: off
CLASSES = (
    "road", "sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole", "polegroup",
    "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "caravan", "trailer", "train",
    "motorcycle", "bicycle",
)
# fmt: on
"""In the order of label ids 7 to 33."""

FIRST_ID = 7
"""Ids below are void: unlabeled, ego vehicle, rectification border, out of roi, static, dynamic, ground. So is -1 (licence plate), stored as 255."""


def is_cityscapes(root: Path) -> bool:
    """Whether ``root`` has the folder of left images."""
    return (root / "leftImg8bit").is_dir()


def open_cityscapes27(root: Path, split: str | None = None) -> Dataset:
    """``leftImg8bit/{split}/{city}/*_leftImg8bit.png`` and ``gtFine/{split}/{city}/*_gtFine_labelIds.png``; splits train, val, test.

    Raises:
        StegoError: not this layout, no such split, or missing images or labels.
    """
    base = root / "leftImg8bit"
    if not base.is_dir():
        raise StegoError(f"{root}: not in the Cityscapes layout; expected leftImg8bit/{{split}}/{{city}}/")
    present = {path.name: path.name for path in sorted(base.iterdir()) if path.is_dir() and not path.name.startswith(".")}
    samples: list[Sample] = []
    for name in chosen_splits(split, present, root):
        found = sorted((base / name).glob(f"*/*{IMAGE_END}"))
        if not found:
            raise StegoError(f"{base / name}: no images found; looked for {{city}}/*{IMAGE_END}")
        keys = [path.relative_to(base).as_posix().removesuffix(IMAGE_END) for path in found]
        expected = [root / "gtFine" / f"{key}{LABEL_END}" for key in keys]
        samples += require_labels([Sample(path, key) for path, key in zip(found, keys, strict=True)], expected, root / "gtFine" / name)
    classes = {FIRST_ID + index: index for index in range(len(CLASSES))}
    rule = LabelRule.of(classes, void=(*range(FIRST_ID), 255), expected="label ids 0 to 33, or 255 for -1")
    return Dataset(f"Cityscapes-27 {split or 'all'}", root, samples, CLASSES, rule)
