"""``stego classes``: see, name, merge, split and ignore the classes of a segmenter."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from models.errors import StegoError


def classes(
    model: Annotated[str, typer.Argument(help="A segmenter file, or 'default'.")],
    count: Annotated[int | None, typer.Option("--classes", "-k", min=1, help="Granularity at which labels are meant; the model's own if not given.")] = None,
    rename: Annotated[list[str] | None, typer.Option(help="LABEL=NAME, e.g. --rename 3=road. Repeatable.")] = None,
    recolour: Annotated[list[str] | None, typer.Option(help="LABEL=#rrggbb. Repeatable.")] = None,
    merge: Annotated[list[str] | None, typer.Option(help="LABEL,LABEL[,…] into one class. Repeatable.")] = None,
    split: Annotated[list[int] | None, typer.Option(help="LABEL into two classes. Repeatable.")] = None,
    ignore: Annotated[list[int] | None, typer.Option(help="LABEL is left out: its pixels become 255. Repeatable.")] = None,
    undo: Annotated[int, typer.Option(min=0, help="Take back this many of the latest edits first.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the edited segmenter; the same file if not given.")] = None,
) -> None:
    """List a segmenter's classes, or edit them; edits are stored in the file and can be undone.

    All labels refer to the classes as listed before this command (after --undo).
    """
    from models.backbone_sources import DEFAULT
    from stego_app.segmenter import Segmenter
    from stego_app.turns import turn

    editing = bool(rename or recolour or merge or split or ignore or undo)
    target = out or Path(model)
    if out is not None and not editing:
        raise StegoError("--out writes an edited segmenter, but no edit was given; expected --rename, --recolour, --merge, --split, --ignore or --undo")
    if editing and out is None and model == DEFAULT:
        raise StegoError(f"--out: '{model}' is built in and cannot be changed in place; name a file for the edited segmenter")
    # Between reading and writing nobody else may change the file; a service that edits it waits likewise.
    with turn(target) if editing and target.is_file() else nullcontext():
        segmenter = Segmenter.load(model, device="cpu")
        if editing:
            segmenter = segmenter.undo(undo) if undo else segmenter
            before = segmenter.table(count)
            for text in merge or []:
                segmenter = segmenter.merge([before.leaves_of(_label(part, "--merge")) for part in text.split(",")])
            for label in split or []:
                segmenter = segmenter.split(before.leaves_of(label))
            for text in rename or []:
                left, equals, name = text.partition("=")
                if not equals:
                    raise StegoError(f"--rename {text}: expected LABEL=NAME, e.g. --rename 3=road")
                segmenter = segmenter.rename(before.leaves_of(_label(left, "--rename")), name)
            for text in recolour or []:
                left, _, color = text.partition("=")
                segmenter = segmenter.recolour(before.leaves_of(_label(left, "--recolour")), color)
            for label in ignore or []:
                segmenter = segmenter.ignore(before.leaves_of(label))
            segmenter.save(target)
            typer.echo(f"wrote {target} ({len(segmenter.edits)} edits)")
    for entry in segmenter.table(count).classes:
        red, green, blue = entry.color
        typer.echo(f"{entry.label:>4}  #{red:02x}{green:02x}{blue:02x}  {entry.share:6.1%}  {entry.name}")


def _label(text: str, option: str) -> int:
    try:
        return int(text.strip())
    except ValueError:
        raise StegoError(f"{option}: '{text}' is not a label; expected a number from `stego classes MODEL`") from None
