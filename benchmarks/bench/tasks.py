"""What is fitted on what, and scored on what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.bench.variants import VARIANTS
from models.errors import StegoError
from stego_app.data import open_dataset
from stego_app.features import Resolution
from stego_app.features.detail import choose_resolution


@dataclass(frozen=True)
class Task:
    """Fit on the images of one split, score on the labels of another.

    Attributes:
        name: column of the table.
        folder: of the data set, in the data folder; of a variant, its name.
        fit_split, score_split: splits of the layout; None for all images.
        size: what the backbone sees: (height, width), or the short side; None for what the images ask for, see `size_asked_for`.
        variant: the set is made from shared sets, see `benchmarks.bench.variants`.
    """

    name: str
    folder: str
    fit_split: str | None
    score_split: str | None
    size: Resolution | None
    variant: bool = False


SHARED = (
    Task("CamVid train → val", "camvid", "train", "val", (336, 448)),
    Task("CamVid train → train", "camvid", "train", "train", (336, 448)),
    Task("MSRC", "msrc_v2", None, None, (224, 336)),
)
"""The sets of the results table."""

PUBLISHED = (
    Task("COCO-Stuff-27 train → val", "cocostuff27", "train", "val", 320),
    Task("Cityscapes-27 train → val", "cityscapes27", "train", "val", (322, 644)),
    Task("Potsdam-3 train → val", "potsdam3", "train", "val", (224, 224)),
)
"""The field's sets in their published layouts, below the data folder by these names; left out, with a line, where absent."""


def variant_tasks(names: list[str]) -> list[Task]:
    """Tasks of the variants ``names``: each is fitted and scored on all its images."""
    return [Task(VARIANTS[name].title, name, None, None, VARIANTS[name].size, variant=True) for name in names]


def own_tasks(folders: list[str], data: Path) -> list[Task]:
    """Tasks of other labelled folders below ``data``, in any layout that the program reads: each is fitted and scored on all its images.

    Raises:
        StegoError: a folder that is not there.
    """
    if absent := [folder for folder in folders if not (data / folder).is_dir()]:
        raise StegoError(f"--folders {absent[0]!r}: expected a folder of images with labels below {data}")
    return [Task(folder, folder, None, None, None) for folder in folders]


@cache
def size_asked_for(folder: Path, patch: int) -> int:
    """Short side at which `stego train` shows the images of ``folder`` to a backbone of this ``patch`` size."""
    dataset = open_dataset(folder)
    return choose_resolution([sample.image for sample in dataset.samples], patch, dataset.reader()).resolution


def present(tasks: list[Task], data: Path) -> tuple[list[Task], list[str]]:
    """Those whose folder is there, and a line on each that is not."""
    there = [task for task in tasks if task.variant or (data / task.folder).is_dir()]
    return there, [f"{task.name}: left out, there is no folder {data / task.folder}" for task in tasks if task not in there]
