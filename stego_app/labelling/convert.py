"""Label maps from one format into others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from models.errors import StegoError
from stego_app.formats.image_file import ImageFile
from stego_app.formats.label_map import LabelMap
from stego_app.formats.safe_zip import is_inside
from stego_app.labelling import hub
from stego_app.labelling.export import any_format, write_all
from stego_app.labelling.inputs import find_inputs
from stego_app.labelling.names import output_names
from stego_app.progress import Progress, silent


def convert(
    source: Path, out: Path, origin: str | None, targets: Sequence[str], *, images: str | None = None, jobs: int | None = None, progress: Progress = silent
) -> tuple[int, list[Path]]:
    """Read label maps of ``source`` in the format ``origin`` and write them to the folder ``out`` in those of ``targets``.

    Args:
        source: a file or folder, as the format has it.
        out: a folder; each format has its usual name in it.
        origin: a format; None for an output folder of batch labelling.
        targets: formats.
        images: folder, zip, pattern or list of the images themselves, for formats that need them or name their place.
        jobs: worker processes; one a core if None.
        progress: called for each image.

    Returns:
        How many images, and what was written.

    Raises:
        StegoError: an unknown format, input that is not in that format, or output that cannot be written.
    """
    if not targets:
        raise StegoError("--to: no format given; expected one or more")
    asked = [any_format(name) for name in dict.fromkeys(targets)]
    reader = any_format(origin or _guess(source))
    for entry in (reader, *asked):
        entry.check()
    if reader.read is None:
        raise StegoError(f"--from {reader.name}: holds no label maps that could be read back")
    if out.exists() and not out.is_dir():
        raise StegoError(f"{out}: is a file; expected a folder for the results")
    if any(_same(source, out / entry.product) or (entry.name == reader.name and _same(source, out)) for entry in asked):
        raise StegoError(f"{out}: would write over what is read; expected another folder")
    found = reader.read(source)
    keys = _keys(found.names, source)
    known = _Images(images) if images is not None else None

    def items() -> Iterator[LabelMap]:
        for item in found.maps:
            yield LabelMap(item.name, keys[item.name], item.source, known.of(item.name) if known else item.image)

    write_all(out, items(), found.classes, asked, count=len(found.names), jobs=jobs, progress=progress)
    return len(found.names), [out / entry.product for entry in asked]


def _guess(source: Path) -> str:
    if hub.looks_like(source):
        return hub.FORMAT.name
    if not source.exists():
        raise StegoError(f"{source}: no such folder or file")
    raise StegoError(f"{source}: is no output folder of `stego label`; name its format by --from")


def _same(first: Path, second: Path) -> bool:
    return first.exists() and second.exists() and first.samefile(second)


def _keys(names: Sequence[str], source: Path) -> dict[str, str]:
    """What each image's results are called.

    Raises:
        StegoError: a name from outside that would lead out of the output folder, or two images of one name.
    """
    for name in names:
        if not is_inside(name):
            raise StegoError(f"{source}: the image name {name!r} leads out of its folder; refused")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise StegoError(f"{source}: two images are called {twice!r}")
    return {str(image): key for image, key in output_names(PurePosixPath(name) for name in names).items()}


class _Images:
    """Images by their name, and, for formats that do not keep it, by their name without suffix."""

    def __init__(self, source: str) -> None:
        found = find_inputs([source])
        self._by_name = {str(item.name): item.image for item in found}
        self._by_stem: dict[str, ImageFile | None] = {}
        for item in found:
            stem = str(item.name.with_suffix(""))
            # Two of one stem leave it open which is meant.
            self._by_stem[stem] = None if stem in self._by_stem else item.image

    def of(self, name: str) -> ImageFile | None:
        """The image of this name; None where there is none."""
        return self._by_name.get(name) or self._by_stem.get(str(PurePosixPath(name).with_suffix("")))
