"""``stego name``: names for the classes of a segmenter, from words or by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import StegoError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from stego_app.progress import Progress

_TOWER = "bridge (offline), a bridge file, or clip:NAME of open_clip."


def name(
    model: Annotated[str, typer.Argument(help="A segmenter file, or 'default'.")],
    words: Annotated[Path | None, typer.Option("--words", "-w", help="A text file: one name a line, other ways to say it after a colon.")] = None,
    mapping: Annotated[Path | None, typer.Option("--mapping", help="Instead: a CSV file with the columns id and name, such as a changed classes.csv.")] = None,
    images: Annotated[Path | None, typer.Option("--images", help="Images to look at: for clip, and where the file keeps no mean patches.")] = None,
    tower: Annotated[str, typer.Option("--tower", help=_TOWER)] = "bridge",
    count: Annotated[int | None, typer.Option("--classes", "-k", min=1, help="Granularity; the model's own if not given.")] = None,
    least: Annotated[float, typer.Option("--least", min=0, max=1, help="Give no name below this confidence.")] = 0.0,
    limit: Annotated[int, typer.Option(min=1, help="At most so many of the --images.")] = 200,
    dry_run: Annotated[bool, typer.Option(help="Say the names; write nothing.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the named segmenter; the same file if not given.")] = None,
) -> None:
    """Name classes from words, or say that none of them fits. Names are edits: `stego classes MODEL --undo N` takes them back."""
    from stego_app.commands.failures import leave_with
    from stego_app.naming.mapping import read_mapping
    from stego_app.naming.name_classes import name_classes, rename_classes
    from stego_app.naming.tower import load_tower
    from stego_app.naming.words import read_words
    from stego_app.progress import terminal_progress
    from stego_app.segmenter import Segmenter
    from stego_app.turns import turn

    if (words is None) == (mapping is None):
        raise StegoError("expected either --words FILE, to choose from, or --mapping FILE, with names made by hand")
    target = out or Path(model)
    if not dry_run and out is None and not target.is_file():
        raise StegoError(f"--out: '{model}' is built in and cannot be changed in place; name a file for the named segmenter")
    asked = None if words is None else read_words(words)
    segmenter = Segmenter.load(model, device="cpu")
    failures: list[tuple[str, str]] = []
    if mapping is not None:
        names = sorted(read_mapping(mapping, segmenter.table(count)).items())
        lines = [f"{label:>4}  {text}" for label, text in names]
    else:
        assert asked is not None
        with terminal_progress() as progress:
            seen = None if images is None else _images(images, limit, failures, progress)
            found = name_classes(segmenter, asked, load_tower(tower, segmenter.model.backbone.fingerprint), classes=count, images=seen, least=least)
        names = [(entry.label, entry.name) for entry in found if entry.name is not None]
        lines = [
            f"{entry.label:>4}  {entry.confidence:4.0%}  {entry.shown}   ({', '.join(f'{text} {chance:.0%}' for text, chance in entry.candidates)})"
            for entry in found
        ]
    for line in lines:
        typer.echo(line)
    if dry_run or not names:
        typer.echo("nothing was written" if dry_run else "none of the words fits a class; nothing was written")
        leave_with(failures)
        return
    # What was looked at may take minutes, in which others may change the file: it is read again, and nobody else's turn until it is written.
    with turn(target) if out is None else nullcontext():
        if out is None and (current := Segmenter.load(model, device="cpu")).edits != segmenter.edits:
            raise StegoError(f"{target}: its classes were changed by another program meanwhile ({len(current.edits)} edits); run the same command again")
        renamed = rename_classes(segmenter, names, count)
        renamed.save(target)
    typer.echo(f"wrote {target}: {len(names)} classes named; stego classes {quote(str(target))} --undo {len(names)} takes that back")
    leave_with(failures)


def _images(folder: Path, limit: int, failures: list[tuple[str, str]], progress: Progress) -> Iterator[npt.NDArray[np.uint8]]:
    """Up to ``limit`` images of ``folder``, spread over it; those that cannot be read go to ``failures``."""
    from stego_app.images import find_images, read_image

    paths = find_images(folder)
    paths = paths[:: max(1, -(-len(paths) // limit))]
    for done, path in enumerate(paths, start=1):
        try:
            image = read_image(path)
        except StegoError as error:
            failures.append((str(path), str(error)))
        else:
            yield image
        progress("looking", done, len(paths))
