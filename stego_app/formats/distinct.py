"""Names and colours for formats that tell classes apart by them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import numpy.typing as npt

Color = tuple[int, int, int]


def distinct_names(names: Iterable[str], *, reserved: Collection[str] = (), forbidden: str = "") -> list[str]:
    """``names`` with ``forbidden`` characters as "_", and a number behind those that come again or are ``reserved``."""
    taken = set(reserved)
    result = []
    for name in names:
        clean = "".join("_" if char in forbidden else char for char in name)
        unique, number = clean, 2
        while unique in taken:
            unique, number = f"{clean} {number}", number + 1
        taken.add(unique)
        result.append(unique)
    return result


def distinct_colors(colors: npt.NDArray[np.uint8], reserved: Collection[Color] = ()) -> list[Color]:
    """``colors`` (K, 3); one that comes again or is ``reserved`` is changed in its last bits to the nearest free one."""
    taken = set(reserved)
    result = []
    for row in colors:
        color = (int(row[0]), int(row[1]), int(row[2]))
        reach = 0
        while color in taken:
            reach += 1
            near = ((r, g, b) for r in _around(row[0], reach) for g in _around(row[1], reach) for b in _around(row[2], reach))
            color = next((other for other in near if other not in taken), color)
        taken.add(color)
        result.append(color)
    return result


def _around(value: np.uint8, reach: int) -> range:
    return range(max(0, int(value) - reach), min(255, int(value) + reach) + 1)


def parse_hex(text: object) -> Color | None:
    """A colour from "#rrggbb"; None where it is none."""
    try:
        data = bytes.fromhex(str(text).lstrip("#"))
    except ValueError:
        return None
    return (data[0], data[1], data[2]) if len(data) == 3 else None


def is_color(value: object) -> bool:
    """Whether ``value``, from a document, is a list of red, green and blue."""
    return isinstance(value, list) and len(value) == 3 and all(isinstance(part, int) and 0 <= part <= 255 for part in value)
