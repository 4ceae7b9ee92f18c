"""Names given by hand: a table of classes and names, such as the ``classes.csv`` of a labelled folder after a person has changed it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from models.errors import StegoError
from stego_app.classes import ClassTable
from stego_app.edits import checked_name

_EXPECTED = "expected the columns id and name, as in the classes.csv of a labelled folder"


def read_mapping(path: Path, table: ClassTable) -> dict[int, str]:
    """New names by class from a CSV file with the columns ``id`` and ``name``; rows without a name, or with the one that the class has, are passed over.

    Raises:
        StegoError: a file that cannot be read or has other columns; a class that ``table`` does not have, or that is named twice; a name that cannot be one;
            no new name.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise StegoError(f"{path}: not a CSV file in UTF-8; {_EXPECTED}") from error
    except OSError as error:
        raise StegoError(f"{path}: cannot be read ({error.strerror or error}); {_EXPECTED}") from error
    names: dict[int, str] = {}
    for number, row in enumerate(rows, start=2):
        if row.get("id") is None or row.get("name") is None:
            raise StegoError(f"{path}, line {number}: {_EXPECTED}")
        if row["name"].strip():
            label = _class(row["id"], table, f"{path}, line {number}")
            if label in names:
                raise StegoError(f"{path}, line {number}: class {label} is named already, '{names[label]}'; expected each class once")
            names[label] = _name(row["name"], f"{path}, line {number}")
    if not names:
        raise StegoError(f"{path}: names no class; {_EXPECTED}")
    # A name that is not changed stays what it is: as an edit, "class 3" would stay with these patches at every granularity.
    new = {label: name for label, name in names.items() if name != table.classes[label].name}
    if not new:
        raise StegoError(f"{path}: all classes that it names are called so already; expected a new name for at least one")
    return new


def _class(text: str, table: ClassTable, where: str) -> int:
    try:
        label = int(text)
    except ValueError:
        raise StegoError(f"{where}: '{text}' is not a class; expected a number from `stego classes MODEL`") from None
    if not 0 <= label < len(table.classes):
        raise StegoError(f"{where}: class {label} does not exist; expected 0 to {len(table.classes) - 1}")
    return label


def _name(text: str, where: str) -> str:
    try:
        return checked_name(text)
    except StegoError as error:
        raise StegoError(f"{where}: {error}") from error
