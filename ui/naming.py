"""Names for a sitting's classes from words that a person types."""

from __future__ import annotations

from stego_app.naming.words import Word, parse_words
from ui.contract import SegmenterLike
from ui.sitting import Sitting, decode_again

SHOWN = 8
"""Names told of at most."""


def typed_words(text: str) -> list[Word]:
    """The words of a text box: a line each, or with commas between them; ``road: street, asphalt`` on a line gives other ways to say one.

    Raises:
        StegoError: fewer than two words, one that is there twice, or one that cannot be a class's name.
    """
    lines = [part for line in text.splitlines() for part in ([line] if ":" in line else line.split(","))]
    return parse_words(lines, where="words", unit="entry")


def name_from_words(sitting: Sitting, labels: list[int], text: str) -> tuple[Sitting, str]:
    """The sitting with the classes ``labels``, or all if there are none, called by the word that fits best; and a line that says how many were.

    One undo takes all these names back. A class that no word fits keeps its name.

    Raises:
        StegoError: see `typed_words`; a model that cannot be named from words, or the extra ``text`` is not installed.
    """
    words = typed_words(text)
    # Here, since they import torch.
    from stego_app.naming.name_classes import rename_classes
    from stego_app.naming.offline import nameable, offline_names

    segmenter = nameable(sitting.segmenter)
    found = offline_names(segmenter, words, classes=sitting.classes)
    asked = [entry for entry in found if not labels or entry.label in labels]
    names = [(entry.label, entry.name) for entry in asked if entry.name is not None]
    if not names:
        return sitting, "None of these words fits: the classes keep their names"
    given = list(dict.fromkeys(name for _, name in names))
    told = f"{len(names)} of {len(asked)} classes named: {', '.join(given[:SHOWN])}{' …' if len(given) > SHOWN else ''}"
    named: SegmenterLike = rename_classes(segmenter, names, sitting.classes)
    return decode_again(sitting.changed(named), classes=sitting.classes, crf=sitting.crf), told
