"""Which images are labelled, and where each label map goes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from models.errors import StegoError
from stego_app.formats.image_file import ImageFile
from stego_app.labelling.inputs import find_inputs
from stego_app.video.reading import is_video

RESULT_FOLDERS = ("labels", "overlays", "confidence", "geotiff", "labelme", "yolo", "clips", "frames")
"""Folders of results inside OUT."""


@dataclass(frozen=True)
class Plan:
    """One image (or clip) to label: where it is, its name in lists (relative, POSIX), and where its results go, relative to OUT."""

    image: ImageFile
    name: str
    label: str
    overlay: str
    confidence: str

    @property
    def path(self) -> Path:
        """The file that is or holds the image."""
        return self.image.path

    @property
    def is_clip(self) -> bool:
        """Whether it is a video clip: ``label`` and ``confidence`` are then folders of its frames', ``overlay`` a video."""
        return not self.image.member and is_video(self.image.path)

    @property
    def state(self) -> str:
        """What files of its unfinished state are called: of one length, whatever its name."""
        return hashlib.sha256(self.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    @property
    def key(self) -> str:
        """What its results are called, without folder and suffix."""
        return self.label.removeprefix("labels/").removesuffix(".png")


def plan_folder(source: Path | str, out: Path) -> list[Plan]:
    """`plan_inputs` of one source."""
    return plan_inputs([source], out)


def plan_inputs(sources: Sequence[Path | str], out: Path, *, may_be_empty: bool = False) -> list[Plan]:
    """A plan for every image of ``sources`` (see `find_inputs`), in a fixed order.

    Results mirror the sub-folders of the input: ``labels/<sub-path>.png``, ``overlays/<sub-path>.jpg`` and
    ``confidence/<sub-path>.png``. A search from around ``out``, of a folder or by a pattern, does not look into it; one from inside it, or from ``out``
    itself, leaves out the results there.
    With ``may_be_empty``, folders may have no images yet; names are those that images have once each folder has some.

    Raises:
        StegoError: no images (unless ``may_be_empty``), or an output folder that would mix results with the input.
    """
    if out.exists() and not out.is_dir():
        raise StegoError(f"{out}: is a file; expected a folder for the results")
    target = out.resolve()
    results = [target / kind for kind in RESULT_FOLDERS]
    for source in sources:
        origin = Path(source).resolve()
        if target == origin:
            raise StegoError(f"{out}: is the input folder; expected another folder for the results")
        if any(map(origin.is_relative_to, results)):
            raise StegoError(f"{source}: lies where results are written; expected input outside {out}")

    def unseen(base: Path) -> list[Path]:
        # An output folder around the input holds it rightly; one inside the input does not belong to it.
        if target != base and target.is_relative_to(base):
            return [target]
        return [folder for folder in results if folder.is_relative_to(base) or base.is_relative_to(folder)]

    images = find_inputs(sources, unseen=unseen, may_be_empty=may_be_empty)
    if not images and not may_be_empty:
        raise StegoError(f"{sources[0]}: no images found outside the output folder {out}")
    clips = {item.name for item in images if not item.image.member and is_video(item.image.path)}
    names = output_names(item.name for item in images if item.name not in clips)
    # A clip keeps its suffix: no folder beside it can have its name.
    return [plan_clip(item.image, str(item.name)) if item.name in clips else plan_image(item.image, str(item.name), names[item.name]) for item in images]


def plan_image(image: ImageFile, name: str, key: str) -> Plan:
    """The plan of one image whose results are called ``key``."""
    return Plan(image, name, f"labels/{key}.png", f"overlays/{key}.jpg", f"confidence/{key}.png")


def plan_clip(clip: ImageFile, name: str) -> Plan:
    """The plan of a video clip; see `Plan.is_clip`."""
    return Plan(clip, name, f"labels/{name}", f"overlays/{name}.mp4", f"confidence/{name}")


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
