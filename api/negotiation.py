"""Which form of answer a client wants: ``format`` by name, else the best match of ``Accept`` (RFC 9110, 12.5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Form = Literal["json", "index", "overlay", "coco", "hf"]

JSON = "application/json"
PNG = "image/png"
OVERLAY = "image/vnd.stego.overlay+png"
COCO = "application/vnd.stego.coco+json"
HUGGING_FACE = "application/vnd.stego.hf+json"

# In order of preference where a client likes several equally well.
OFFERS: tuple[tuple[Form, str], ...] = (
    ("json", JSON),
    ("index", PNG),
    ("overlay", OVERLAY),
    ("coco", COCO),
    ("hf", HUGGING_FACE),
)
_PICTURES = frozenset({"index", "overlay"})


@dataclass(frozen=True)
class Answer:
    """A form and the media type it is sent as."""

    form: Form
    media_type: str


def choose(accept: str | None, form: Form | None) -> Answer | None:
    """The answer to send, or None where nothing on offer is acceptable.

    A ``form`` asked for by name is sent whatever ``accept`` says, as ``image/png`` or ``application/json``. Otherwise each
    offer gets the weight of the most specific range that matches it; the heaviest wins, the earlier one on a tie.
    """
    if form is not None:
        return Answer(form, PNG if form in _PICTURES else JSON)
    ranges = _ranges(accept) if accept and accept.strip() else {"*/*": 1.0}
    best: Answer | None = None
    heaviest = 0.0
    for offered, media_type in OFFERS:
        kind = media_type.partition("/")[0]
        weight = next((ranges[name] for name in (media_type, f"{kind}/*", "*/*") if name in ranges), 0.0)
        if weight > heaviest:
            best, heaviest = Answer(offered, media_type), weight
    return best


def _ranges(accept: str) -> dict[str, float]:
    """Media ranges and their weights; a weight that is no number from 0 to 1 counts as 0 (not acceptable)."""
    ranges: dict[str, float] = {}
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                weight = _weight(value.strip())
        if name:
            ranges[name] = max(weight, ranges.get(name, 0.0))
    return ranges


def _weight(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0.0 <= value <= 1.0 else 0.0
