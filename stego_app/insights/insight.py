"""What an insight is: a sentence, the numbers behind it, and the places in images that show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Spot:
    """Something to look at.

    Attributes:
        image: number of the image in the survey.
        caption: what it shows.
        mask: (h, w) bool on the grid of patches: what is meant; the rest is dimmed. None for all of it.
        centre: (row, column) of the patch around which the picture is cut out; None for the whole picture.
    """

    image: int
    caption: str
    mask: npt.NDArray[np.bool_] | None = None
    centre: tuple[int, int] | None = None


@dataclass(frozen=True)
class Insight:
    """One finding: ``text`` in plain words, ``values`` for programs, ``spots`` to look at, ``short`` for the terminal (empty: not shown there)."""

    text: str
    values: Mapping[str, Any] = field(default_factory=dict)
    spots: Sequence[Spot] = ()
    short: str = ""


@dataclass(frozen=True)
class Section:
    """Insights of one kind: ``how`` says what was measured and where its limits come from; ``bars`` (name, value in [0, 1]) are drawn."""

    key: str
    title: str
    how: str
    insights: Sequence[Insight]
    bars: Sequence[tuple[str, float]] = ()
    marks: Sequence[float] = ()


def findings_json(sections: Sequence[Section], names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """All sections for ``findings.json``: key to texts, values, and ``pictures`` (``names``: of the survey's images)."""
    return {
        section.key: [
            {"text": insight.text, **insight.values, "pictures": [{"image": names[spot.image], "shows": spot.caption} for spot in insight.spots]}
            for insight in section.insights
        ]
        for section in sections
    }


def short_lines(sections: Sequence[Section]) -> list[str]:
    """The lines for the terminal."""
    return [insight.short for section in sections for insight in section.insights if insight.short]


def listed(words: Sequence[str], most: int = 8) -> str:
    """Words with commas, the last ones counted where there are many."""
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
