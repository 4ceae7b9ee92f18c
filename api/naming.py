"""Names for a model's classes from the words of a request, with the same meaning as ``stego name``."""

from __future__ import annotations

from collections.abc import Sequence

from api.schemas_jobs import FoundName, NameCandidate, NameRequest
from ui.contract import SegmenterLike


def found_names(segmenter: SegmenterLike, request: NameRequest) -> list[FoundName]:
    """A word, or none, for each class of ``segmenter``.

    Raises:
        StegoError: words that cannot be used, a model that keeps no mean patches or has another backbone than the bridge, the extra ``text`` is missing.
    """
    # Here, since they import torch.
    from stego_app.naming.offline import nameable, offline_names
    from stego_app.naming.words import parse_words

    words = parse_words(request.words, where="words", unit="entry")
    found = offline_names(nameable(segmenter), words, classes=request.classes, least=request.least)
    return [
        FoundName(
            id=entry.label,
            name=entry.name,
            confidence=entry.confidence,
            candidates=[NameCandidate(name=name, confidence=confidence) for name, confidence in entry.candidates],
        )
        for entry in found
    ]


def named(segmenter: SegmenterLike, found: Sequence[FoundName], request: NameRequest) -> SegmenterLike:
    """``segmenter`` with the classes renamed for which a word was found."""
    from stego_app.naming.name_classes import rename_classes
    from stego_app.naming.offline import nameable

    return rename_classes(nameable(segmenter), [(entry.id, entry.name) for entry in found if entry.name is not None], request.classes)
