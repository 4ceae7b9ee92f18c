"""Variants of the shared sets that show what would fail on other data: fewer sequences, other sizes, crops, two sets in one folder.

A variant is written once as a plain folder of images, labels and class names, so that anything can be run on it. Labels are for scoring.
Images that are taken over whole are copied byte for byte: their cached features are found again.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.errors import StegoError
from stego_app.data import VOID, Dataset, Sample, open_dataset
from stego_app.features import Resolution

Bytes = npt.NDArray[np.uint8]

CENTRE = 0.6
"""Share of each side that a centre crop keeps."""

DUSK = "0001TP"
SEQUENCES = (DUSK, "0006R0", "0016E5")
"""CamVid's training sequences, by file name; the first is the one at dusk."""


@dataclass(frozen=True)
class Source:
    """A shared set and what is taken of it: the sequences whose file names begin so, all if empty; images scaled and cropped."""

    folder: str
    split: str | None
    sequences: tuple[str, ...] = ()
    scale: float = 1.0
    crop: float = 1.0

    @property
    def changes_pixels(self) -> bool:
        return self.scale != 1.0 or self.crop != 1.0


@dataclass(frozen=True)
class Variant:
    """Several sources in one folder; the classes of each come after those of the sources before it."""

    title: str
    sources: tuple[Source, ...]
    size: Resolution


def _both(name: str, title: str, scale: float = 1.0, crop: float = 1.0) -> dict[str, Variant]:
    """The same change to CamVid's training images and to MSRC; a larger or smaller image is also seen larger or smaller."""
    camvid, msrc = (round(336 * scale), round(448 * scale)), (round(224 * scale), round(336 * scale))
    return {
        f"camvid-{name}": Variant(f"CamVid train, {title}", (Source("camvid", "train", scale=scale, crop=crop),), camvid),
        f"msrc-{name}": Variant(f"MSRC, {title}", (Source("msrc_v2", None, scale=scale, crop=crop),), msrc),
    }


VARIANTS: dict[str, Variant] = {
    **{f"camvid-{prefix}": Variant(f"CamVid train, {prefix} only", (Source("camvid", "train", (prefix,)),), (336, 448)) for prefix in SEQUENCES[1:]},
    "camvid-dusk": Variant("CamVid train, dusk only", (Source("camvid", "train", (DUSK,)),), (336, 448)),
    "camvid-day": Variant("CamVid train, day only", (Source("camvid", "train", SEQUENCES[1:]),), (336, 448)),
    **_both("half", "half size", scale=0.5),
    **_both("double", "double size", scale=2.0),
    **_both("centre", "centre crops", crop=CENTRE),
    # One folder has one resolution: the product's own.
    "camvid-msrc": Variant("CamVid train and MSRC in one folder", (Source("camvid", "train"), Source("msrc_v2", None)), 336),
}


def variant_folder(name: str, data: Path, into: Path) -> Path:
    """The folder of variant ``name``, written below ``into`` if it is not there.

    Raises:
        StegoError: no such variant, or a shared set that is missing below ``data``.
    """
    if name not in VARIANTS:
        raise StegoError(f"variant {name!r}: expected one of {', '.join(VARIANTS)}")
    folder = into / name
    if not folder.exists():
        into.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=into))
        try:
            write_variant(VARIANTS[name], data, partial)
            os.replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def write_variant(variant: Variant, data: Path, folder: Path) -> None:
    """Write ``images/``, ``labels/`` and ``meta.json`` into ``folder``."""
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    names: list[str] = []
    for source in variant.sources:
        dataset = open_dataset(data / source.folder, split=source.split)
        for sample in chosen(dataset.labelled, source.sequences):
            stem = f"{source.folder}_{sample.key.replace('/', '_')}"
            label = offset_labels(dataset.read_label(sample), len(names))
            if source.changes_pixels:
                image, label = changed(dataset.read_image(sample), label, source.scale, source.crop)
                Image.fromarray(image).save(folder / "images" / f"{stem}.png")
            else:
                shutil.copyfile(sample.image, folder / "images" / f"{stem}{sample.image.suffix}")
            Image.fromarray(label).save(folder / "labels" / f"{stem}.png")
        names += [f"{source.folder} {name}" for name in named(dataset)] if len(variant.sources) > 1 else named(dataset)
    (folder / "meta.json").write_text(json.dumps({"classes": names, "void": VOID}))


def chosen(samples: Iterable[Sample], sequences: tuple[str, ...]) -> list[Sample]:
    """The samples whose file names begin with one of ``sequences``; all if there are none."""
    return [sample for sample in samples if not sequences or sample.image.name.startswith(sequences)]


def offset_labels(label: Bytes, by: int) -> Bytes:
    """Classes moved up by ``by``; void stays."""
    return np.where(label == VOID, VOID, label.astype(np.int64) + by).astype(np.uint8)


def changed(image: Bytes, label: Bytes, scale: float, crop: float) -> tuple[Bytes, Bytes]:
    """Image (H, W, 3) and label (H, W), their centre of ``crop`` of each side kept, then resized by ``scale``; labels never blend."""
    height, width = label.shape
    h, w = max(1, round(height * crop)), max(1, round(width * crop))
    top, left = (height - h) // 2, (width - w) // 2
    size = max(1, round(w * scale)), max(1, round(h * scale))

    def cut(array: Bytes, method: Image.Resampling) -> Bytes:
        part = Image.fromarray(np.ascontiguousarray(array[top : top + h, left : left + w]))
        return np.asarray(part if part.size == size else part.resize(size, method))

    return cut(image, Image.Resampling.LANCZOS), cut(label, Image.Resampling.NEAREST)


def named(dataset: Dataset) -> list[str]:
    """Its class names.

    Raises:
        StegoError: the layout names none.
    """
    if dataset.class_names is None:
        raise StegoError(f"{dataset.root}: names no classes; expected a meta.json with them")
    return list(dataset.class_names)


Reader = Callable[[Path], Bytes]
