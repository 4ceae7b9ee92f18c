"""The explanation as part of the report: its sections as HTML, and its numbers as ``findings.json``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.insights.insight import Insight, Section, Spot
from stego_app.report import figures, html
from stego_app.report.spots import spot_picture


@dataclass(frozen=True)
class Explanation:
    """Sections, and what is needed to show and name the images they speak of.

    Attributes:
        sections: see `stego_app.insights.explain.explain`.
        picture: number of an image to its pixels (H, W, 3); a StegoError leaves the picture out.
        grids: (h, w) of each image's patches.
        names: of the images.
    """

    sections: Sequence[Section]
    picture: Callable[[int], npt.NDArray[np.uint8]]
    grids: Sequence[tuple[int, int]]
    names: Sequence[str]


def as_sections(explanation: Explanation) -> list[tuple[str, str]]:
    """(heading, HTML) of each section."""
    return [(section.title, _section(section, explanation)) for section in explanation.sections]


def _section(section: Section, explanation: Explanation) -> str:
    chart = ""
    if section.bars:
        chart = html.picture(figures.shares(section.bars, section.marks), section.title)
    items = "".join(_insight(insight, explanation) for insight in section.insights)
    return f"<p class=how>{escape(section.how)}</p>{chart}{items}"


def _insight(insight: Insight, explanation: Explanation) -> str:
    pictures = html.thumbnails(_pictures(insight.spots, explanation))
    return f"<div class=insight><p>{escape(insight.text)}</p>{pictures}</div>"


def _pictures(spots: Sequence[Spot], explanation: Explanation) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    for spot in spots:
        try:
            image = explanation.picture(spot.image)
        except StegoError:
            continue  # gone since its features were computed: the sentence stands without it
        caption = spot.caption if explanation.names[spot.image] in spot.caption else f"{spot.caption} in {explanation.names[spot.image]}"
        yield caption, spot_picture(image, spot, explanation.grids[spot.image])
