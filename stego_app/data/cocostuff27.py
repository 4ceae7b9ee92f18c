"""COCO-Stuff with 27 coarse classes, as IIC introduced and PiCIE and STEGO score it (Caesar et al. 2018; Ji et al. 2019; Cho et al. 2021)."""

from __future__ import annotations

from pathlib import Path

from models.errors import StegoError
from stego_app.data.dataset import Dataset, LabelRule, Sample, chosen_splits, read_list, require_labels
from stego_app.images import find_images

CURATED = "Coco164kFull_Stuff_Coarse_7.txt"
"""IIC's list of the images that are mostly stuff: what is used where it is there."""

# fmt: off
FINE_LABELS: dict[str, tuple[int, ...]] = {
    "electronic": tuple(range(71, 77)),  # tv laptop mouse remote keyboard phone
    "appliance": tuple(range(77, 83)),   # microwave oven toaster sink refrigerator blender
    "food": tuple(range(51, 61)),        # banana … cake
    "furniture": tuple(range(61, 71)),   # chair … door
    "indoor": tuple(range(83, 91)),      # book … hair brush
    "kitchen": tuple(range(43, 51)),     # bottle … bowl
    "accessory": tuple(range(25, 33)),   # hat … suitcase
    "animal": tuple(range(15, 25)),      # bird … giraffe
    "outdoor": tuple(range(9, 15)),      # traffic light … bench
    "person": (0,),
    "sports": tuple(range(33, 43)),      # frisbee … tennis racket
    "vehicle": tuple(range(1, 9)),       # bicycle … boat
    "ceiling": (101, 102),
    "floor": (100, 113, 114, 115, 116, 117),
    "food stuff": (120, 121, 152, 169),
    "furniture stuff": (97, 106, 107, 109, 111, 122, 129, 132, 155, 160, 164),
    "raw material": (99, 131, 138, 142),
    "textile": (91, 92, 103, 104, 108, 130, 136, 140, 151, 166, 167),
    "wall": tuple(range(170, 177)),
    "window": (179, 180),
    "building": (94, 95, 127, 150, 157, 165),
    "ground": (110, 124, 125, 135, 139, 143, 144, 146, 148, 153, 158),
    "plant": (93, 96, 118, 123, 128, 133, 141, 162, 168),
    "sky": (105, 156),
    "solid": (126, 134, 149, 159, 161, 181),
    "structural": (98, 112, 137, 145, 163),
    "water": (119, 147, 154, 177, 178),
}
# fmt: on
"""Coarse class to the fine labels (0 to 181, as in the stuff-thing maps) that belong to it, by the super-categories of COCO-Stuff."""

CLASSES = tuple(FINE_LABELS)
SPLITS = {"train": "train2017", "val": "val2017"}

LABEL_FOLDERS = ("annotations", "stuffthingmaps")
"""Where the label maps may lie: as COCO-Stuff's authors unpack them, and as others do who keep COCO's JSON files in ``annotations``."""


def is_cocostuff(root: Path) -> bool:
    """Whether ``root`` has images by COCO's splits of 2017."""
    return any((root / "images" / folder).is_dir() for folder in SPLITS.values())


def open_cocostuff27(root: Path, split: str | None = None) -> Dataset:
    """``images/{train2017,val2017}/*.jpg``, ``annotations/{train2017,val2017}/*.png`` and ``curated/*/`` lists; splits train, val.

    Label maps may lie in ``stuffthingmaps/`` as well.

    Raises:
        StegoError: not this layout, no such split, or missing images or labels.
    """
    present = {name: folder for name, folder in SPLITS.items() if (root / "images" / folder).is_dir()}
    if not present:
        raise StegoError(f"{root}: not in the COCO-Stuff layout; expected images/train2017 or images/val2017")
    samples: list[Sample] = []
    for folder in chosen_splits(split, present, root):
        images = _images(root, folder)
        plain = [Sample(path, f"{folder}/{path.stem}") for path in images]
        labels = next((root / name for name in LABEL_FOLDERS if (root / name / folder).is_dir()), root / LABEL_FOLDERS[0])
        samples += require_labels(plain, [labels / f"{sample.key}.png" for sample in plain], labels / folder)
    mapping = {fine: coarse for coarse, fines in enumerate(FINE_LABELS.values()) for fine in fines}
    return Dataset(f"COCO-Stuff-27 {split or 'all'}", root, samples, CLASSES, LabelRule.of(mapping, expected="0 to 181, or 255 for void"))


def _images(root: Path, folder: str) -> list[Path]:
    """The images of a split: those of the curated list where it is there, else all."""
    curated = root / "curated" / folder / CURATED
    if not curated.is_file():
        return find_images(root / "images" / folder)
    images = [root / "images" / folder / f"{name}.jpg" for name in read_list(curated)]
    if missing := [path for path in images if not path.is_file()]:
        raise StegoError(f"{missing[0]}: no such image; {curated} lists {len(images)}, of which {len(missing)} are missing")
    if not images:
        raise StegoError(f"{curated}: lists no images")
    return images
