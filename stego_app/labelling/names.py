"""Which images are labelled, and where each label map goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from models.errors import StegoError
from stego_app.images import find_images

RESULT_FOLDERS = ("labels", "overlays", "confidence")
"""Folders of results inside OUT."""


@dataclass(frozen=True)
class Plan:
    """One image to label: its path, its name in lists (relative, POSIX), and where its results go, relative to OUT."""

    path: Path
    name: str
    label: str
    overlay: str
    confidence: str


def plan_folder(source: Path, out: Path) -> list[Plan]:
    """A plan for every image under ``source``, or for the one image that it is, in a fixed order.

    Results mirror the sub-folders of ``source``: ``labels/<sub-path>.png``, ``overlays/<sub-path>.jpg`` and
    ``confidence/<sub-path>.png``. What lies in
    ``out`` is never taken for input.

    Raises:
        StegoError: no images, or an output folder that would mix results with the input.
    """
    target, origin = out.resolve(), source.resolve()
    if target == origin:
        raise StegoError(f"{out}: is the input folder; expected another folder for the results")
    if any(origin.is_relative_to(target / kind) for kind in RESULT_FOLDERS):
        raise StegoError(f"{source}: lies where results are written; expected input outside {' and '.join(str(out / kind) for kind in RESULT_FOLDERS)}")
    if out.exists() and not out.is_dir():
        raise StegoError(f"{out}: is a file; expected a folder for the results")
    root = source.parent if source.is_file() else source
    found = [source] if source.is_file() else find_images(source)
    # An output folder around the input holds it rightly; one inside the input does not belong to it.
    inside = target.is_relative_to(origin)
    images = [path for path in found if not (inside and path.resolve().is_relative_to(target))]
    if not images:
        raise StegoError(f"{source}: no images found outside the output folder {out}")
    relative = [PurePosixPath(path.relative_to(root).as_posix()) for path in images]
    names = output_names(relative)
    return [
        Plan(path, str(name), f"labels/{names[name]}.png", f"overlays/{names[name]}.jpg", f"confidence/{names[name]}.png")
        for path, name in zip(images, relative, strict=True)
    ]


def output_names(images: Iterable[PurePosixPath]) -> dict[PurePosixPath, str]:
    """A name for each image's results, without suffix: no two alike, even where the file system ignores case.

    It is the image's path without its suffix; images that would share one (``a.jpg`` and ``a.png``) keep theirs
    (``a.jpg`` and ``a.png``, which give ``a.jpg.png`` and ``a.png.png``).
    """
    names = {image: str(image.with_suffix("")) for image in images}
    while True:
        counts = Counter(name.casefold() for name in names.values())
        short = [image for image, name in names.items() if counts[name.casefold()] > 1 and name != str(image)]
        if not short:
            return names
        names.update({image: str(image) for image in short})


def other_names(plan: Plan) -> tuple[str, ...]:
    """Where the label map of ``plan`` would go if its neighbours had other names."""
    image = PurePosixPath(plan.name)
    return tuple(label for label in (f"labels/{image.with_suffix('')}.png", f"labels/{image}.png") if label != plan.label)
