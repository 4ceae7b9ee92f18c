"""What an output folder holds of images that are no longer among those to label, or are others now, and its removal."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath

from stego_app.formats.registry import formats
from stego_app.labelling.clip import ABOUT, FRAMES, frame_plan
from stego_app.labelling.clip_state import FOLDER as STATES
from stego_app.labelling.export import map_of, remove_file, remove_outdated
from stego_app.labelling.large import CACHE as TILES
from stego_app.labelling.manifest import Entry
from stego_app.labelling.names import RESULT_FOLDERS, Plan


@dataclass(frozen=True)
class Gone:
    """``left``: what is known of images that are gone, of each its entry, of a clip those of its frames as well; ``overtaken``: names of those
    whose label map has become that of another image."""

    left: dict[str, list[Entry]]
    overtaken: list[str]


def gone_images(out: Path, entries: Mapping[str, Entry], plans: Sequence[Plan], taken: Iterable[str]) -> Gone:
    """The images with label maps in ``out`` that are not among ``plans``, whose label maps are, or will be, those ``taken``."""
    wanted = {plan.name for plan in plans}
    clips = {name for name, entry in entries.items() if entry.status == "clip"}
    gone: dict[str, list[Entry]] = {}
    for name, entry in entries.items():
        parent = str(PurePosixPath(name).parent)
        owner = parent if parent in clips or parent in wanted else name
        if owner not in wanted and (entry.status == "clip" or (entry.label and (out / entry.label).is_file())):
            gone.setdefault(owner, []).append(entry)
    names = {label.casefold(): label for label in taken}

    def is_taken(label: str) -> bool:
        other = names.get(label.casefold())  # where the file system ignores case, another spelling is the same file
        return other is not None and (other == label or ((out / other).is_file() and (out / other).samefile(out / label)))

    overtaken = [name for name, found in gone.items() if is_taken(found[0].label)]
    for name in overtaken:
        del gone[name]
    return Gone(gone, overtaken)


def outdated_frames(entries: Mapping[str, Entry], plan: Plan, clip: Entry, out: Path) -> Iterator[Entry]:
    """Frames of an earlier clip of the name of ``plan``, where ``clip`` is what was found of the one that is there now."""
    for number in count():
        frame = entries.get(frame_plan(plan, number, out).name)
        if frame is None:
            return
        if frame.sha256 != clip.sha256 or (clip.status == "clip" and number >= (clip.frames or 0)):
            yield frame


def remove_results(out: Path, entries: Sequence[Entry], *, folders: bool) -> None:
    """Remove what was written for ``entries``, in the folders of formats too.

    Args:
        out: the output folder.
        entries: of its manifest.
        folders: whether those that are left empty go too: not while others write there.
    """
    for entry in entries:
        for name in _files(out, entry):
            if PurePosixPath(name).parts[0] in RESULT_FOLDERS:  # a manifest may come from anywhere
                remove_file(out, name, folders=folders)
    remove_outdated(out, [map_of(out, entry) for entry in entries if entry.label.endswith(".png")], [], formats().values())


def remove_states(out: Path, plans: Sequence[Plan]) -> None:
    """Remove what interrupted runs kept of rasters and clips that are not among ``plans``."""
    wanted = {plan.state for plan in plans}
    for folder in (out / TILES, out / STATES):
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.stem in wanted:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        with suppress(OSError):  # something is left in it, or it is not there
            folder.rmdir()


def _files(out: Path, entry: Entry) -> list[str]:
    """Whatever may have been written for an image, clip or frame, but for formats."""
    if entry.status == "clip":
        return [f"{ABOUT}/{entry.image}.json", f"overlays/{entry.image}.mp4"]
    key = map_of(out, entry).key
    return [entry.label, f"overlays/{key}.jpg", f"confidence/{key}.png", f"{FRAMES}/{entry.image}"]
