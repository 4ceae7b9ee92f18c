"""Tiny copies of COCO-Stuff, Cityscapes and Potsdam, with the file names and label values of the published ones."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.io import savemat

Bytes = npt.NDArray[np.uint8]

COCO_CLASSES = (156, 123, 171, 0)  # sky-other, grass, wall-brick, person: fine labels as stored
CURATED = "Coco164kFull_Stuff_Coarse_7.txt"
CITIES = {"train": ("aachen", "zurich"), "val": ("lindau",)}


def scene(height: int, width: int, seed: int, values: tuple[int, ...], void: int | None) -> tuple[Bytes, Bytes]:
    """An image (H, W, 3) of a sky, a striped ground and a checked box, and its labels (H, W): ``values`` for the three, a void border."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.tile(np.array([90, 140, 220], dtype=np.float64), (height, width, 1))
    label = np.full((height, width), values[0], dtype=np.uint8)
    ground = rows > height * random.uniform(0.35, 0.6)
    stripes = np.where((columns + rows) // 3 % 2, 1.0, 0.55)[..., None]
    image[ground], label[ground] = (np.array([60, 170, 50]) * stripes)[ground], values[1]
    left, top = random.uniform(0.1, 0.5) * width, random.uniform(0.2, 0.4) * height
    box = (columns > left) & (columns < left + 0.4 * width) & (rows > top) & (rows < top + 0.4 * height)
    checks = np.where(((columns // 5 + rows // 5) % 2)[..., None], (200, 50, 40), (230, 210, 60))
    image[box], label[box] = checks[box], values[2]
    if void is not None:
        label[:1] = void
    return np.clip(image + random.normal(0, 6, image.shape), 0, 255).astype(np.uint8), label


def save(path: Path, picture: Bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return path


def coco_tree(root: Path, train: int = 6, val: int = 4, size: tuple[int, int] = (48, 64)) -> Path:
    """``images``, ``annotations`` and ``curated``; the first image of each split is on no curated list."""
    for split, count in (("train2017", train), ("val2017", val)):
        names = [f"{7 + 130 * number:012}" for number in range(count)]
        for number, name in enumerate(names):
            image, label = scene(*size, seed=number + 100 * count, values=COCO_CLASSES, void=255)
            save(root / f"images/{split}/{name}.jpg", image)
            save(root / f"annotations/{split}/{name}.png", label)
        curated = root / "curated" / split / CURATED
        curated.parent.mkdir(parents=True, exist_ok=True)
        curated.write_text("".join(f"{name}\n" for name in names[1:]))
    return root


def cityscapes_tree(root: Path, train: int = 6, val: int = 4, size: tuple[int, int] = (48, 96)) -> Path:
    """``leftImg8bit`` and ``gtFine`` with all four files of each annotation."""
    for split, count in (("train", train), ("val", val)):
        for number in range(count):
            city = CITIES[split][number % len(CITIES[split])]
            stem = f"{split}/{city}/{city}_{number:06}_000019"
            image, label = scene(*size, seed=number + 100 * count, values=(23, 7, 26), void=1)
            label[-2:] = 255  # a licence plate's -1, as some tools store it
            save(root / f"leftImg8bit/{stem}_leftImg8bit.png", image)
            save(root / f"gtFine/{stem}_gtFine_labelIds.png", label)
            save(root / f"gtFine/{stem}_gtFine_instanceIds.png", label)
            save(root / f"gtFine/{stem}_gtFine_color.png", image)
            (root / f"gtFine/{stem}_gtFine_polygons.json").write_text("{}")
    return root


def potsdam_tree(root: Path, train: int = 6, val: int = 4, unlabelled: int = 2, side: int = 50) -> Path:
    """``imgs/N.mat`` with near infrared, ``gt/N.mat`` in int32, lists, as IIC prepared them."""
    names = [str(name) for name in np.random.default_rng(0).permutation(train + val + unlabelled)]
    for number, name in enumerate(names):
        image, label = scene(side, side, seed=number, values=(0, 1, 3), void=None)
        label[:, 0], label[:, 1], label[:, 2] = 4, 5, 2
        for folder in ("imgs", "gt"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        savemat(root / f"imgs/{name}.mat", {"img": np.dstack([image, image[..., :1]])})
        if number < train + val:
            savemat(root / f"gt/{name}.mat", {"gt": label.astype(np.int32)})
    lists = {"labelled_train": names[:train], "labelled_test": names[train : train + val], "unlabelled_train": names[train + val :], "all": names}
    for file, ids in lists.items():
        (root / f"{file}.txt").write_text("".join(f"{name}\n" for name in ids))
    return root


def coco_archives(tree: Path, folder: Path) -> Path:
    """The four archives of COCO-Stuff that ``tree`` was unpacked from, with the folders inside that the published ones have."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train2017", "val2017"):
        with zipfile.ZipFile(folder / f"{split}.zip", "w") as archive:
            archive.mkdir(f"{split}/")
            for path in sorted((tree / "images" / split).iterdir()):
                archive.write(path, f"{split}/{path.name}")
    with zipfile.ZipFile(folder / "stuffthingmaps_trainval2017.zip", "w") as archive:
        for path in sorted((tree / "annotations").glob("*/*.png")):
            archive.write(path, f"{path.parent.name}/{path.name}")
    with tarfile.open(folder / "COCOStuff164kCurated.tar.gz", "w:gz") as tape:
        for split in ("train2017", "val2017"):
            for name in (CURATED, "Coco164kFew_Stuff_3.txt"):
                data = (tree / "curated" / split / CURATED).read_bytes()
                info = tarfile.TarInfo(f"COCO/CocoStuff164k/curated/{split}/{name}")
                info.size = len(data)
                tape.addfile(info, io.BytesIO(data))
    return folder
