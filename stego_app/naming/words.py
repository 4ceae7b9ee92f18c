"""The words that classes are named with: a text file, one name a line, with other ways to say it after a colon."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import StegoError
from stego_app.edits import checked_name

MAX_WORDS = 1000
NONE = "none of these"
"""What a class is said to be that no word fits."""


@dataclass(frozen=True)
class Word:
    """A name and the ``phrases`` that stand for it in the text tower, the name itself first."""

    name: str
    phrases: tuple[str, ...]


def read_words(path: Path) -> list[Word]:
    """The words of ``path``: one a line, as ``road`` or ``road: street, asphalt``; empty lines and those that begin with # are passed over.

    Raises:
        StegoError: a file that cannot be read, or see `parse_words`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise StegoError(f"{path}: not a text file in UTF-8; expected one word a line") from error
    except OSError as error:
        raise StegoError(f"{path}: cannot be read ({error.strerror or error}); expected a text file with one word a line") from error
    return parse_words(text.splitlines(), where=str(path), unit="line")


def parse_words(lines: Sequence[str], *, where: str, unit: str, least: int = 2) -> list[Word]:
    """Words from ``lines``; errors name ``where`` they come from and the number of the ``unit`` ("line", "entry").

    Raises:
        StegoError: fewer than ``least`` words, more than `MAX_WORDS`, one that is given twice, or one that cannot be a class's name.
    """
    words: list[Word] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            word = _word(line)
        except StegoError as error:
            raise StegoError(f"{where}, {unit} {number}: {error}") from error
        key = word.name.casefold()
        if key in seen:
            raise StegoError(f"{where}, {unit} {number}: '{word.name}' is there already, in {unit} {seen[key]}; expected each word once")
        if key == NONE:
            raise StegoError(f"{where}, {unit} {number}: '{NONE}' is said of classes that no word fits; leave it out")
        seen[key] = number
        words.append(word)
    if len(words) > MAX_WORDS:
        raise StegoError(f"{where}: {len(words)} words; expected at most {MAX_WORDS}")
    if len(words) < least:
        raise StegoError(f"{where}: {'no words' if not words else 'only one word'}; expected {least} or more to choose between")
    return words


def _word(line: str) -> Word:
    name, _, others = line.partition(":")
    name = checked_name(name)
    return Word(name, tuple(dict.fromkeys(_spoken([name, *others.split(",")]))))


def _spoken(phrases: Iterable[str]) -> list[str]:
    """As one would say it: file names and labels often join words by underscores."""
    return [spoken for phrase in phrases if (spoken := " ".join(phrase.replace("_", " ").split()))]
