"""What Label Studio's labelling interface (its XML) says about brushes: their names, their image, their labels."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

from models.errors import StegoError

MAX_CHARACTERS = 200_000


class LabelConfigError(StegoError):
    """A labelling interface without a brush for an image, or none at all."""


@dataclass(frozen=True)
class Brush:
    """The first ``BrushLabels`` of an interface and its image.

    Attributes:
        from_name: name of the brush tag.
        to_name: name of the image tag.
        key: where a task's data holds the image.
        labels: the word for a result by the label's name, all in lower case; empty where the interface leaves labels open.
    """

    from_name: str
    to_name: str
    key: str
    labels: dict[str, str]

    def label_for(self, name: str) -> str | None:
        """The label for a class of this name; None where the interface has none."""
        return self.labels.get(name.strip().casefold()) if self.labels else name


def parse_label_config(text: str) -> Brush:
    """Read an interface.

    Raises:
        LabelConfigError: not XML, with a document type (whose entities can make a small text huge), or without a brush for an image.
    """
    if len(text) > MAX_CHARACTERS:
        raise LabelConfigError(f"label_config: {len(text):,} characters; expected at most {MAX_CHARACTERS:,}")
    if "<!doctype" in text.lower() or "<!entity" in text.lower():
        raise LabelConfigError("label_config: expected XML without a document type")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise LabelConfigError(f"label_config: not XML ({error})") from error
    images = {element.get("name"): element.get("value", "") for element in root.iter() if _tag(element) == "image"}
    for element in root.iter():
        if _tag(element) != "brushlabels":
            continue
        source = images.get(element.get("toName"), "")
        if element.get("name") and source.startswith("$") and len(source) > 1:
            return Brush(str(element.get("name")), str(element.get("toName")), source[1:], _labels(element))
    raise LabelConfigError('label_config: expected <BrushLabels name="…" toName="…"> for an <Image name="…" value="$…"/>')


def _labels(brush: ElementTree.Element) -> dict[str, str]:
    labels: dict[str, str] = {}
    for element in brush.iter():
        value = element.get("value")
        if _tag(element) != "label" or not value:
            continue
        word = element.get("alias") or value
        for name in (word, value):
            labels.setdefault(name.strip().casefold(), word)
    return labels


def _tag(element: ElementTree.Element) -> str:
    return element.tag.lower() if isinstance(element.tag, str) else ""
