"""The stage that gets the data: downloads what may be downloaded, cuts what has to be cut, and checks the layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.published.download import fetch
from benchmarks.published.potsdam_tiles import cut_tiles, has_raw_images
from benchmarks.published.recipes import Download, Recipe
from benchmarks.published.unpack import unpack
from models.errors import StegoError
from stego_app.data import Dataset, open_dataset
from stego_app.data.dataset import read_list
from stego_app.progress import Progress, silent

DOWNLOADS = "downloads"


def prepare_data(recipe: Recipe, root: Path, say: Callable[[str], None], progress: Progress = silent) -> None:
    """Make ``root`` hold the complete data set.

    Raises:
        StegoError: it cannot be completed here; ``say`` has been given the steps to do by hand.
    """
    if not layout_problems(recipe, root):
        say(f"data: {root} is complete")
        return
    if recipe.downloads:
        _download(recipe, root, say, progress)
    elif recipe.layout == "potsdam3" and has_raw_images(root):
        say(f"data: {cut_tiles(root, progress=progress)} tiles cut")
    if problems := layout_problems(recipe, root):
        for number, step in enumerate(recipe.how, start=1):
            say(f"  {number}. {step}")
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise StegoError(f"{problems[0]}{more}; see the steps above")
    say(f"data: {root} is complete")


def layout_problems(recipe: Recipe, root: Path) -> list[str]:
    """What is missing for the published layout, one sentence each."""
    problems = []
    for files in recipe.files:
        folder = root / files.folder
        found = sum(1 for path in folder.glob(files.pattern) if not path.name.startswith(".")) if folder.is_dir() else 0
        if found != files.count:
            problems.append(f"{folder}: {found} files {files.pattern}; expected {files.count}")
    for listed in recipe.lists:
        path = root / listed.file
        if not path.is_file():
            problems.append(f"{path}: no such list; expected {listed.lines} lines")
        elif (lines := len(read_list(path))) != listed.lines:
            problems.append(f"{path}: {lines} lines; expected {listed.lines}")
    return problems


def open_splits(recipe: Recipe, root: Path, train_images: int | None, val_images: int | None) -> tuple[Dataset, Dataset]:
    """The splits to train on and to score on, evenly thinned to so many images where a number is given.

    Raises:
        StegoError: not the layout, or a split without labels.
    """
    splits = []
    for name, images in ((recipe.train_split, train_images), (recipe.val_split, val_images)):
        dataset = open_dataset(root, split=split_of(name, images), layout=recipe.layout)
        if not dataset.labelled:
            raise StegoError(f"{root}: the split {name} has no labels; expected those of the published layout ({recipe.how[-1]})")
        splits.append(dataset)
    return splits[0], splits[1]


def split_of(split: str, images: int | None) -> str:
    """``split`` as `open_dataset` takes it, with only ``images`` of its images where that is not None."""
    return split if images is None else f"{split}@{images}"


def _download(recipe: Recipe, root: Path, say: Callable[[str], None], progress: Progress) -> None:
    for download in recipe.downloads:
        if _is_unpacked(recipe, download, root):
            continue
        say(f"data: {download.url}")
        archive = fetch(download, root / DOWNLOADS, progress)
        say(f"data: {unpack(archive, download.unpack, root, progress)} files of {archive.name}")
    say(f"data: {root / DOWNLOADS} may be deleted now")


def _is_unpacked(recipe: Recipe, download: Download, root: Path) -> bool:
    """Whether nothing is missing in the folders that the archive fills."""
    places = tuple(str(root / rule.into) for rule in download.unpack)
    return not any(problem.startswith(places) for problem in layout_problems(recipe, root))
